#include "native.h"

#include <stdlib.h>
#include <string.h>

SQLITE(int) sqlite3_bind_null(sqlite3_stmt *, int);
SQLITE(int) sqlite3_bind_int64(sqlite3_stmt *, int, long long);
SQLITE(int) sqlite3_bind_double(sqlite3_stmt *, int, double);
SQLITE(int) sqlite3_bind_text(sqlite3_stmt *, int, const char *, int, void (*)(void *));
SQLITE(int) sqlite3_bind_blob(sqlite3_stmt *, int, const void *, int, void (*)(void *));
SQLITE(int) sqlite3_bind_parameter_count(sqlite3_stmt *);
SQLITE(int) sqlite3_clear_bindings(sqlite3_stmt *);
SQLITE(int) sqlite3_step(sqlite3_stmt *);
SQLITE(int) sqlite3_reset(sqlite3_stmt *);
SQLITE(int) sqlite3_column_count(sqlite3_stmt *);
SQLITE(const char *) sqlite3_column_name(sqlite3_stmt *, int);
SQLITE(sqlite3_value *) sqlite3_column_value(sqlite3_stmt *, int);
SQLITE(int) sqlite3_value_type(sqlite3_value *);
SQLITE(long long) sqlite3_value_int64(sqlite3_value *);
SQLITE(double) sqlite3_value_double(sqlite3_value *);
SQLITE(const unsigned char *) sqlite3_value_text(sqlite3_value *);
SQLITE(const void *) sqlite3_value_blob(sqlite3_value *);
SQLITE(int) sqlite3_value_bytes(sqlite3_value *);
SQLITE(sqlite3 *) sqlite3_db_handle(sqlite3_stmt *);
SQLITE(int) sqlite3_extended_errcode(sqlite3 *);
SQLITE(const char *) sqlite3_errmsg(sqlite3 *);
SQLITE(void *) sqlite3_user_data(sqlite3_context *);
SQLITE(void) sqlite3_result_int(sqlite3_context *, int);
SQLITE(void) sqlite3_result_error(sqlite3_context *, const char *, int);
SQLITE(void) sqlite3_result_error_nomem(sqlite3_context *);
SQLITE(const char *) sqlite3_bind_parameter_name(sqlite3_stmt *, int);
SQLITE(int) sqlite3_create_function_v2(sqlite3 *, const char *, int, int, void *, void (*)(sqlite3_context *, int, sqlite3_value **),
	void (*)(sqlite3_context *, int, sqlite3_value **), void (*)(sqlite3_context *), void (*)(void *));
SQLITE(int) sqlite3_db_config(sqlite3 *, int, ...);
SQLITE(void *) sqlite3_wal_hook(sqlite3 *, int (*)(void *, sqlite3 *, const char *, int), void *);

enum { ROW = 100, DONE = 101, NOMEM = 7, UTF8 = 1, ENABLE_TRIGGER = 1003, NO_CKPT_ON_CLOSE = 1006 }; // of SQLite
enum { COL_INTEGER = 1, COL_REAL, COL_TEXT, COL_BLOB, COL_NULL }; // its column types
enum { NONE, INTEGER, REAL, TEXT, BLOB };                         // package record's

static unsigned long long load64(const unsigned char *p) {
	unsigned long long v = 0;
	for (int i = 0; i < 8; i++) v = v << 8 | p[i];
	return v;
}

static void store64(unsigned char *p, unsigned long long v) {
	for (int i = 7; i >= 0; i--, v >>= 8) p[i] = (unsigned char)v;
}

// bind binds the value at p and returns what follows it. The bytes of texts
// and blobs stay where they are until the bindings are cleared.
static const unsigned char *bind(sqlite3_stmt *s, int i, const unsigned char *p, int *rc) {
	int type = *p++;
	if (type == NONE) {
		*rc = sqlite3_bind_null(s, i);
		return p;
	}
	if (type == INTEGER || type == REAL) {
		unsigned long long v = load64(p);
		double d;
		if (type == INTEGER) {
			*rc = sqlite3_bind_int64(s, i, (long long)v);
			return p + 8;
		}
		memcpy(&d, &v, 8);
		*rc = sqlite3_bind_double(s, i, d);
		return p + 8;
	}
	int n = 0, shift = 0;
	do {
		n |= (*p & 0x7f) << shift;
		shift += 7;
	} while (*p++ & 0x80);
	*rc = type == TEXT ? sqlite3_bind_text(s, i, (const char *)p, n, 0) : sqlite3_bind_blob(s, i, p, n, 0);
	return p + n;
}

static unsigned char *room(native_out *out, size_t more) {
	if (out->cap - out->n < more) {
		size_t cap = out->cap * 2 + more + 4096;
		unsigned char *p = realloc(out->p, cap);
		if (!p) return 0;
		out->p = p;
		out->cap = cap;
	}
	return out->p + out->n;
}

static int put_value(native_out *out, sqlite3_value *v) {
	int type = sqlite3_value_type(v);
	const void *data = 0;
	unsigned n = 0;
	if (type == COL_TEXT || type == COL_BLOB) {
		data = type == COL_TEXT ? (const void *)sqlite3_value_text(v) : sqlite3_value_blob(v);
		n = (unsigned)sqlite3_value_bytes(v);
		if (!data && n > 0) return NOMEM;
	}
	unsigned char *p = room(out, 16 + n), *start = p;
	if (!p) return NOMEM;
	if (type == COL_NULL) {
		*p++ = NONE;
	} else if (type == COL_INTEGER) {
		*p++ = INTEGER;
		store64(p, (unsigned long long)sqlite3_value_int64(v));
		p += 8;
	} else if (type == COL_REAL) {
		double d = sqlite3_value_double(v);
		unsigned long long bits;
		memcpy(&bits, &d, 8);
		*p++ = REAL;
		store64(p, bits);
		p += 8;
	} else {
		unsigned left = n;
		*p++ = type == COL_TEXT ? TEXT : BLOB;
		for (; left >= 0x80; left >>= 7) *p++ = (unsigned char)(left | 0x80);
		*p++ = (unsigned char)left;
		if (n > 0) memcpy(p, data, n);
		p += n;
	}
	out->n += (size_t)(p - start);
	return 0;
}

static int put_byte(native_out *out, unsigned char b) {
	unsigned char *p = room(out, 1);
	if (!p) return NOMEM;
	*p = b;
	out->n++;
	return 0;
}

// put_rows steps s to its end: each row after a 1, then a 0.
static int put_rows(sqlite3_stmt *s, native_out *out) {
	int rc;
	while ((rc = sqlite3_step(s)) == ROW) {
		int cols = sqlite3_column_count(s);
		rc = put_byte(out, 1);
		for (int i = 0; i < cols && !rc; i++) rc = put_value(out, sqlite3_column_value(s, i));
		if (rc) return rc;
	}
	return rc == DONE ? put_byte(out, 0) : rc;
}

static int failed(sqlite3_stmt *s, int rc, native_out *out) {
	sqlite3 *db = sqlite3_db_handle(s);
	int extended = sqlite3_extended_errcode(db);
	const char *text = sqlite3_errmsg(db);
	size_t n = strlen(text);
	unsigned char *p;
	out->n = 0;
	if ((extended & 0xff) != (rc & 0xff)) return rc; // ours, not SQLite's
	if ((p = room(out, n))) {
		memcpy(p, text, n);
		out->n = n;
	}
	return extended;
}

int native_run(sqlite3_stmt *s, int params, const unsigned char *args, int runs, native_out *out, int *done) {
	int rc = 0;
	out->n = 0;
	for (*done = 0; *done < runs; ++*done) {
		for (int i = 1; i <= params && !rc; i++) args = bind(s, i, args, &rc);
		if (!rc) rc = put_rows(s, out);
		if (rc) {
			rc = failed(s, rc, out);
			sqlite3_reset(s);
			break;
		}
		rc = sqlite3_reset(s);
	}
	sqlite3_clear_bindings(s);
	return rc;
}

static void flag(sqlite3_context *c, int n, sqlite3_value **args) {
	(void)n, (void)args;
	sqlite3_result_int(c, ((native_state *)sqlite3_user_data(c))->flag);
}

static void log_args(sqlite3_context *c, int n, sqlite3_value **args) {
	native_state *st = sqlite3_user_data(c);
	unsigned char *p = room(&st->log, 8);
	int rc = p ? 0 : NOMEM;
	if (p) {
		store64(p, (unsigned long long)n);
		st->log.n += 8;
	}
	for (int i = 0; i < n && !rc; i++) rc = put_value(&st->log, args[i]);
	if (rc) {
		sqlite3_result_error_nomem(c);
	} else if (st->log.n > st->limit) {
		st->over = 1;
		sqlite3_result_error(c, "too many rows", -1);
	}
}

static int committed(void *st, sqlite3 *db, const char *name, int frames) {
	(void)db, (void)name;
	((native_state *)st)->frames = frames;
	return 0;
}

int native_attach(sqlite3_stmt *s, const char *flag_name, const char *log_name, native_state *st) {
	sqlite3 *db = sqlite3_db_handle(s);
	sqlite3_wal_hook(db, committed, st);
	int rc = sqlite3_create_function_v2(db, flag_name, 0, UTF8, st, flag, 0, 0, 0);
	return rc ? rc : sqlite3_create_function_v2(db, log_name, -1, UTF8, st, log_args, 0, 0, 0);
}

int native_triggers(sqlite3_stmt *s, int on) {
	return sqlite3_db_config(sqlite3_db_handle(s), ENABLE_TRIGGER, on, (int *)0);
}

int native_keep_log(sqlite3_stmt *s) { return sqlite3_db_config(sqlite3_db_handle(s), NO_CKPT_ON_CLOSE, 1, (int *)NULL); }

int native_columns(sqlite3_stmt *s) { return sqlite3_column_count(s); }

int native_params(sqlite3_stmt *s) { return sqlite3_bind_parameter_count(s); }

const char *native_param(sqlite3_stmt *s, int i) { return sqlite3_bind_parameter_name(s, i); }

const char *native_column(sqlite3_stmt *s, int i) { return sqlite3_column_name(s, i); }

void native_free(native_out *out) { free(out->p); }
