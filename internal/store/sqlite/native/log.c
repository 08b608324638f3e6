#include "vfs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A transaction adds frames to the end of the log, each a header and a page:
// SQLite writes the two with a call of the system each. Here they gather, and
// go to the system together: when the page of the commit has come, when there
// is no more room, and before anything else is done with the file. So after the
// last write of a transaction nothing of it is here, as SQLite expects before
// it tells others of it.
//
// Only what adds to the log gathers. Frames that SQLite writes again, in the
// transaction that they are of, are below the end and pass at once.

enum { OPEN_LOG = 0x80000, LOG_HEADER = 32, FRAME_HEADER = 24 };

// ROOM is as much as SQLite writes at once: of more it writes a part and takes
// the disk for full.
enum { ROOM = 0x1ffff };

struct native_log {
	sqlite3_vfs vfs; // first: SQLite gives it back
	sqlite3_vfs *real;
	long long writes; // to the system
	char name[32];
};

// gathering is the log. The file beneath lies right behind it.
typedef struct gathering {
	sqlite3_file base;
	native_log *log;
	unsigned char *room;
	long long at, end; // of what is gathered; of the log
	int n;             // gathered
	int head;          // the last of it is a header
	int commit;        // and that is of a commit
} gathering;

static sqlite3_file *beneath(sqlite3_file *f) { return (sqlite3_file *)((gathering *)f + 1); }

static int pass(gathering *g, const void *p, int n, long long at) {
	g->log->writes++;
	return beneath(&g->base)->methods->write(beneath(&g->base), p, n, at);
}

// flush writes what is gathered. What could not be written is gone: SQLite
// undoes the transaction, and writes at its place again.
static int flush(gathering *g) {
	int n = g->n;
	g->n = g->head = g->commit = 0;
	return n ? pass(g, g->room, n, g->at) : 0;
}

static void gather(gathering *g, const void *p, int n) {
	memcpy(g->room + g->n, p, (size_t)n);
	g->n += n;
	g->end += n;
}

static int l_write(sqlite3_file *f, const void *p, int n, long long at) {
	gathering *g = (gathering *)f;
	int adds = g->n && at == g->at + g->n && n <= ROOM - g->n, rc;
	if (adds && g->head) {
		gather(g, p, n);
		g->head = 0;
		return g->commit ? flush(g) : 0;
	}
	if (!adds && (rc = flush(g))) return rc;
	if (n == FRAME_HEADER && at >= LOG_HEADER && at >= g->end && g->room) {
		if (!g->n) g->at = g->end = at;
		gather(g, p, n);
		g->head = 1;
		g->commit = memcmp((const char *)p + 4, "\0\0\0\0", 4) != 0; // the size of the database after it
		return 0;
	}
	if ((rc = flush(g)) || (rc = pass(g, p, n, at))) return rc;
	if (at == 0 || at + n > g->end) g->end = at + n; // at 0 the log begins anew
	return 0;
}

static int l_close(sqlite3_file *f) {
	free(((gathering *)f)->room);
	return beneath(f)->methods->close(beneath(f));
}

static int l_read(sqlite3_file *f, void *p, int n, long long at) {
	int rc = flush((gathering *)f);
	return rc ? rc : beneath(f)->methods->read(beneath(f), p, n, at);
}

static int l_truncate(sqlite3_file *f, long long size) {
	gathering *g = (gathering *)f;
	int rc = flush(g);
	if (size < g->end) g->end = size;
	return rc ? rc : beneath(f)->methods->truncate(beneath(f), size);
}

static int l_sync(sqlite3_file *f, int flags) {
	int rc = flush((gathering *)f);
	return rc ? rc : beneath(f)->methods->sync(beneath(f), flags);
}

static int l_size(sqlite3_file *f, long long *n) {
	int rc = flush((gathering *)f);
	return rc ? rc : beneath(f)->methods->size(beneath(f), n);
}

static int l_control(sqlite3_file *f, int op, void *p) {
	int rc = flush((gathering *)f);
	return rc ? rc : beneath(f)->methods->control(beneath(f), op, p);
}

static int l_lock(sqlite3_file *f, int l) { return beneath(f)->methods->lock(beneath(f), l); }
static int l_unlock(sqlite3_file *f, int l) { return beneath(f)->methods->unlock(beneath(f), l); }
static int l_reserved(sqlite3_file *f, int *l) { return beneath(f)->methods->reserved(beneath(f), l); }
static int l_sector(sqlite3_file *f) { return beneath(f)->methods->sector(beneath(f)); }
static int l_device(sqlite3_file *f) { return beneath(f)->methods->device(beneath(f)); }

static const sqlite3_io_methods methods = {
	1, l_close, l_read, l_write, l_truncate, l_sync, l_size, l_lock, l_unlock, l_reserved, l_control, l_sector, l_device,
};

static int l_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out) {
	native_log *l = (native_log *)v;
	if (!(flags & OPEN_LOG)) return l->real->open(l->real, name, f, flags, out);
	gathering *g = (gathering *)f;
	memset(g, 0, sizeof *g);
	g->log = l;
	int rc = l->real->open(l->real, name, beneath(f), flags, out);
	if (beneath(f)->methods) {
		g->base.methods = &methods;
		g->room = malloc(ROOM); // without it everything passes
	}
	return rc;
}

native_log *native_log_new(int *rc) {
	native_log *l = calloc(1, sizeof *l);
	*rc = 7; // no memory
	if (!l) return NULL;
	*rc = vfs_over(&l->vfs, &l->real, (int)sizeof(gathering));
	l->vfs.open = l_open;
	snprintf(l->name, sizeof l->name, "log-%p", (void *)l);
	l->vfs.name = l->name;
	if (!*rc && !(*rc = sqlite3_vfs_register(&l->vfs, 0))) return l;
	free(l);
	return NULL;
}

const char *native_log_name(native_log *l) { return l->name; }

long long native_log_writes(native_log *l) { return l->writes; }

void native_log_free(native_log *l) {
	if (!l) return;
	sqlite3_vfs_unregister(&l->vfs);
	free(l);
}
