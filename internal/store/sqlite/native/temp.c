#include "vfs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FULL = 13, NOMEMORY = 7 };
enum { TEMPORARY = 0x200 | 0x400 | 0x1000 | 0x2000 }; // kinds of files that end with their statement

struct native_temp {
	sqlite3_vfs vfs; // first: SQLite gives it back
	sqlite3_vfs *real;
	long long limit, used;
	int over;
	char name[32];
};

// metered is a temporary file. The file beneath lies right behind it.
typedef struct metered {
	sqlite3_file base;
	native_temp *temp;
	long long size;
} metered;

static sqlite3_file *beneath(sqlite3_file *f) { return (sqlite3_file *)((metered *)f + 1); }

static int m_close(sqlite3_file *f) {
	((metered *)f)->temp->used -= ((metered *)f)->size;
	return beneath(f)->methods->close(beneath(f));
}

static int m_read(sqlite3_file *f, void *p, int n, long long at) { return beneath(f)->methods->read(beneath(f), p, n, at); }

static int m_write(sqlite3_file *f, const void *p, int n, long long at) {
	metered *m = (metered *)f;
	long long more = at + n - m->size;
	if (more > 0) {
		if (m->temp->used + more > m->temp->limit) {
			m->temp->over = 1;
			return FULL;
		}
		m->temp->used += more;
		m->size += more;
	}
	return beneath(f)->methods->write(beneath(f), p, n, at);
}

static int m_truncate(sqlite3_file *f, long long size) {
	metered *m = (metered *)f;
	if (size < m->size) {
		m->temp->used -= m->size - size;
		m->size = size;
	}
	return beneath(f)->methods->truncate(beneath(f), size);
}

static int m_sync(sqlite3_file *f, int flags) { return beneath(f)->methods->sync(beneath(f), flags); }
static int m_size(sqlite3_file *f, long long *n) { return beneath(f)->methods->size(beneath(f), n); }
static int m_lock(sqlite3_file *f, int l) { return beneath(f)->methods->lock(beneath(f), l); }
static int m_unlock(sqlite3_file *f, int l) { return beneath(f)->methods->unlock(beneath(f), l); }
static int m_reserved(sqlite3_file *f, int *l) { return beneath(f)->methods->reserved(beneath(f), l); }
// Size hints would be met without a write, so none are passed on.
static int m_control(sqlite3_file *f, int op, void *p) { (void)f, (void)op, (void)p; return 12; /* not found */ }
static int m_sector(sqlite3_file *f) { return beneath(f)->methods->sector(beneath(f)); }
static int m_device(sqlite3_file *f) { return beneath(f)->methods->device(beneath(f)); }

static const sqlite3_io_methods metering = {
	1, m_close, m_read, m_write, m_truncate, m_sync, m_size, m_lock, m_unlock, m_reserved, m_control, m_sector, m_device,
};

static int t_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out) {
	native_temp *t = (native_temp *)v;
	if (!(flags & TEMPORARY)) return t->real->open(t->real, name, f, flags, out);
	metered *m = (metered *)f;
	m->base.methods = NULL;
	m->temp = t;
	m->size = 0;
	int rc = t->real->open(t->real, name, beneath(f), flags, out);
	if (beneath(f)->methods) m->base.methods = &metering;
	return rc;
}

native_temp *native_temp_new(long long limit, int *rc) {
	native_temp *t = calloc(1, sizeof *t);
	*rc = NOMEMORY;
	if (!t) return NULL;
	*rc = vfs_over(&t->vfs, &t->real, (int)sizeof(metered));
	if (*rc) goto fail;
	t->vfs.open = t_open;
	t->limit = limit;
	snprintf(t->name, sizeof t->name, "temp-%p", (void *)t);
	t->vfs.name = t->name;
	if ((*rc = sqlite3_vfs_register(&t->vfs, 0)) == 0) return t;
fail:
	free(t);
	return NULL;
}

const char *native_temp_name(native_temp *t) { return t->name; }

int native_temp_over(native_temp *t) {
	int over = t->over;
	t->over = 0;
	return over;
}

void native_temp_free(native_temp *t) {
	if (!t) return;
	sqlite3_vfs_unregister(&t->vfs);
	free(t);
}
