#include "native.h"

// Of SQLite's interface to the operating system, which is stable:
// https://www.sqlite.org/c3ref/vfs.html and .../io_methods.html
typedef struct sqlite3_vfs sqlite3_vfs;
typedef struct sqlite3_file sqlite3_file;
typedef struct sqlite3_io_methods sqlite3_io_methods;

struct sqlite3_file {
	const sqlite3_io_methods *methods;
};

struct sqlite3_io_methods {
	int version;
	int (*close)(sqlite3_file *);
	int (*read)(sqlite3_file *, void *, int, long long);
	int (*write)(sqlite3_file *, const void *, int, long long);
	int (*truncate)(sqlite3_file *, long long);
	int (*sync)(sqlite3_file *, int);
	int (*size)(sqlite3_file *, long long *);
	int (*lock)(sqlite3_file *, int);
	int (*unlock)(sqlite3_file *, int);
	int (*reserved)(sqlite3_file *, int *);
	int (*control)(sqlite3_file *, int, void *);
	int (*sector)(sqlite3_file *);
	int (*device)(sqlite3_file *);
};

struct sqlite3_vfs {
	int version, file_size, max_path;
	sqlite3_vfs *next;
	const char *name;
	void *data;
	int (*open)(sqlite3_vfs *, const char *, sqlite3_file *, int, int *);
	void (*rest[15])(void);
};

SQLITE(sqlite3_vfs *) sqlite3_vfs_find(const char *);
SQLITE(int) sqlite3_vfs_register(sqlite3_vfs *, int);
SQLITE(int) sqlite3_vfs_unregister(sqlite3_vfs *);

// vfs_over makes v like the system's own, which it stores in real, with so many
// bytes more for each file. What v keeps as it is works as in real.
int vfs_over(sqlite3_vfs *v, sqlite3_vfs **real, int more);
