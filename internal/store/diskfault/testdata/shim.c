#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// A line of the rules: CALL SUFFIX ACTION NUMBER. The first that matches counts.
// The file is read anew for every call: what is tested is not speed.

static void pause_ms(long ms) {
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};
	nanosleep(&t, NULL);
}

static int find(const char *call, const char *path, char *action, int *number) {
	const char *rules = getenv("FIREBREAK_DISKFAULT");
	FILE *f = rules ? fopen(rules, "r") : NULL;
	char c[32], suffix[256];
	int found = 0;
	while (f && !found && fscanf(f, "%31s %255s %31s %d", c, suffix, action, number) == 4) {
		size_t n = strlen(path), m = strlen(suffix);
		found = !strcmp(c, call) && (!strcmp(suffix, "*") || (n >= m && !strcmp(path + n - m, suffix)));
	}
	if (f) fclose(f);
	return found;
}

// faulty does what the rules say of a call on fd, and returns whether the call
// fails, with errno set.
static int faulty(const char *call, int fd) {
	char link[64], path[4096], action[32];
	int number;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof path - 1);
	if (n < 0) return 0;
	path[n] = 0;
	while (find(call, path, action, &number)) {
		if (!strcmp(action, "fail")) {
			errno = number;
			return 1;
		}
		if (!strcmp(action, "slow")) {
			pause_ms(number);
			return 0;
		}
		pause_ms(5); // hang
	}
	return 0;
}

#define NEXT(name) \
	static __typeof__(&name) next; \
	if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *p, size_t n) {
	NEXT(write);
	return faulty("write", fd) ? -1 : next(fd, p, n);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at) {
	NEXT(pwrite);
	return faulty("write", fd) ? -1 : next(fd, p, n, at);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at) {
	NEXT(pwrite64);
	return faulty("write", fd) ? -1 : next(fd, p, n, at);
}

int fsync(int fd) {
	NEXT(fsync);
	return faulty("sync", fd) ? -1 : next(fd);
}

int fdatasync(int fd) {
	NEXT(fdatasync);
	return faulty("sync", fd) ? -1 : next(fd);
}

int ftruncate(int fd, off_t n) {
	NEXT(ftruncate);
	return faulty("truncate", fd) ? -1 : next(fd, n);
}

int ftruncate64(int fd, off64_t n) {
	NEXT(ftruncate64);
	return faulty("truncate", fd) ? -1 : next(fd, n);
}
