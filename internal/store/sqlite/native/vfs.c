#include "vfs.h"

#include <string.h>

int vfs_over(sqlite3_vfs *v, sqlite3_vfs **real, int more) {
	sqlite3_vfs *r = sqlite3_vfs_find(NULL);
	if (!r) return 1;
	memcpy(v, r, r->version >= 3 ? sizeof *v : offsetof(sqlite3_vfs, rest) + 11 * sizeof v->rest[0]);
	if (r->version < 3) v->version = 1;
	v->next = NULL;
	v->file_size = r->file_size + more;
	*real = r;
	return 0;
}
