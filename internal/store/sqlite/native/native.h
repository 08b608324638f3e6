#include <stddef.h>

// What is needed of SQLite, which the driver's package links into the program.
// The symbols are weak so that this package links by itself too.
#define SQLITE(type) extern __attribute__((weak)) type
typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt sqlite3_stmt;
typedef struct sqlite3_value sqlite3_value;
typedef struct sqlite3_context sqlite3_context;

// native_out collects rows, or the text of an error. It grows and is reused.
typedef struct native_out {
	unsigned char *p;
	size_t n, cap;
} native_out;

// native_state is what a connection shares with its owner.
typedef struct native_state {
	int flag;       // what the flag function returns
	int frames;     // of the log after the last commit
	native_out log; // what the log function was called with: a count of 8 bytes, and as many values
	size_t limit;   // bytes of log, beyond which the log function fails
	int over;       // it has failed so
} native_state;

// native_run runs s once for each set of packed parameters, until one fails.
// It returns SQLite's extended code, 0 if all went well, and says in done how
// many did.
int native_run(sqlite3_stmt *s, int params, const unsigned char *args, int runs, native_out *out, int *done);

// native_attach gives the connection of s a function flag() that returns
// st->flag, and a function log(...) that adds its arguments to st->log, and
// keeps st->frames. st must outlive the connection.
int native_attach(sqlite3_stmt *s, const char *flag, const char *log, native_state *st);

// native_triggers lets the statements of the connection of s run triggers, or
// not. All of its statements are prepared anew when they run next.
int native_triggers(sqlite3_stmt *s, int on);

// native_keep_log makes the connection of s leave the log as it is when it is
// the last to close.
int native_keep_log(sqlite3_stmt *s);

// native_temp lets connections that are opened through it, by its name, have
// temporary files of so many bytes in all.
typedef struct native_temp native_temp;
native_temp *native_temp_new(long long limit, int *rc);
const char *native_temp_name(native_temp *t);
int native_temp_over(native_temp *t); // whether the limit was met since the last call
void native_temp_free(native_temp *t); // after its connections are closed

// native_log lets a connection that is opened through it, by its name, write
// the pages of a transaction to the log together.
typedef struct native_log native_log;
native_log *native_log_new(int *rc);
const char *native_log_name(native_log *l);
long long native_log_writes(native_log *l); // to the system
void native_log_free(native_log *l); // after its connection is closed

int native_columns(sqlite3_stmt *s);
int native_params(sqlite3_stmt *s);
const char *native_param(sqlite3_stmt *s, int i);

// native_column returns the name of column i, from 0.
const char *native_column(sqlite3_stmt *s, int i);
void native_free(native_out *out);
