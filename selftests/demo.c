// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest part of "make demo". "demo 1", in the old kernel, preserves two memfds
 * and leaves a process that holds their session. "demo 2", in the new kernel,
 * retrieves them and compares them with what "demo 1" noted in /host, a directory
 * that guest and host share.
 *
 * Lines that start with DEMO are for the host, which prints the timeline.
 */
#include "lib/luo.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SESSION "demo"
#define NOTES "/host/demo-notes"
#define BIG_TOKEN 1
#define SMALL_TOKEN 2
#define BIG_SIZE (256 * MIB)
#define SMALL_SIZE 10000
#define SMALL_POS 4321
#define SMALL_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW)
#define HALVES 2
/* One SHA-256 for each half, so that two CPUs can work. */
#define DIGEST 32
#define DIGEST_TEXT (2 * DIGEST + 1)

struct sha256 {
	uint32_t state[8];
	uint64_t length;
	uint8_t block[64];
};

static const uint32_t sha256_k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
	0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
	0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
	0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
	0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
	0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
	0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
	0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t ror(uint32_t x, int n)
{
	return x >> n | x << (32 - n);
}

static void sha256_block(struct sha256 *s, const uint8_t *p)
{
	uint32_t w[64], v[8], t1, t2;
	int i;

	for (i = 0; i < 16; i++) {
		memcpy(&w[i], p + 4 * i, 4);
		w[i] = __builtin_bswap32(w[i]);
	}
	for (; i < 64; i++)
		w[i] = w[i - 16] + w[i - 7] +
		       (ror(w[i - 15], 7) ^ ror(w[i - 15], 18) ^
			w[i - 15] >> 3) +
		       (ror(w[i - 2], 17) ^ ror(w[i - 2], 19) ^ w[i - 2] >> 10);
	memcpy(v, s->state, sizeof(v));
	/* Unrolled, so that rotating v costs nothing. */
#pragma GCC unroll 64
	for (i = 0; i < 64; i++) {
		uint32_t a = v[-i & 7], b = v[(1 - i) & 7], c = v[(2 - i) & 7];
		uint32_t e = v[(4 - i) & 7], f = v[(5 - i) & 7],
			 g = v[(6 - i) & 7];

		t1 = v[(7 - i) & 7] + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) +
		     (g ^ (e & (f ^ g))) + sha256_k[i] + w[i];
		t2 = (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) +
		     ((a & b) | (c & (a | b)));
		v[(3 - i) & 7] += t1;
		v[(7 - i) & 7] = t1 + t2;
	}
	for (i = 0; i < 8; i++)
		s->state[i] += v[i];
}

static void sha256(const void *data, size_t len, uint8_t digest[DIGEST])
{
	static const uint32_t start[8] = {
		0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
		0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
	};
	const uint8_t *p = data;
	uint64_t bits = __builtin_bswap64((uint64_t)len * 8);
	struct sha256 s = {};
	size_t rest;
	int i;

	memcpy(s.state, start, sizeof(start));
	for (rest = len; rest >= 64; rest -= 64, p += 64)
		sha256_block(&s, p);
	memcpy(s.block, p, rest);
	s.block[rest] = 0x80;
	if (rest >= 56) {
		sha256_block(&s, s.block);
		memset(s.block, 0, 56);
	}
	memcpy(s.block + 56, &bits, 8);
	sha256_block(&s, s.block);
	for (i = 0; i < 8; i++) {
		uint32_t word = __builtin_bswap32(s.state[i]);

		memcpy(digest + 4 * i, &word, 4);
	}
}

static void die(const char *what, int error)
{
	printf("DEMO failed: %s: %s\n", what, strerror(error));
	exit(1);
}

static int failures;

static void compare(const char *what, bool same)
{
	printf("DEMO %s %s\n", same ? "same" : "DIFFERENT", what);
	if (!same)
		failures++;
}

static const char *text_of(const uint8_t digest[DIGEST], char text[DIGEST_TEXT])
{
	int i;

	for (i = 0; i < DIGEST; i++)
		sprintf(text + 2 * i, "%02x", digest[i]);
	return text;
}

/* What "demo 1" notes about a file. The frame numbers follow. */
struct notes {
	uint64_t token;
	uint64_t size;
	uint64_t pages;
	int64_t position;
	int32_t seals;
	uint8_t digest[HALVES][DIGEST];
};

struct half {
	pthread_t thread;
	uint8_t *data;
	size_t len;
	uint64_t seed;
	bool fill;
	uint8_t digest[DIGEST];
};

static void *do_half(void *arg)
{
	struct half *half = arg;
	uint64_t x = half->seed;
	size_t i, n;

	for (i = 0; half->fill && i < half->len; i += n) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		n = half->len - i < sizeof(x) ? half->len - i : sizeof(x);
		if (n == sizeof(x))
			memcpy(half->data + i, &x, sizeof(x));
		else
			memcpy(half->data + i, &x, n);
	}
	sha256(half->data, half->len, half->digest);
	return NULL;
}

/*
 * Computes the digests of both halves of a mapping; with @fill, fills them
 * first.
 */
static void digest_halves(uint8_t *map, size_t size, uint64_t seed, bool fill,
			  struct notes *notes)
{
	struct half halves[HALVES] = {};
	int i, error;

	for (i = 0; i < HALVES; i++) {
		halves[i].data = map + i * (size / HALVES);
		halves[i].len = size / HALVES;
		halves[i].seed = seed + i;
		halves[i].fill = fill;
		error = pthread_create(&halves[i].thread, NULL, do_half,
				       &halves[i]);
		if (error)
			die("pthread_create", error);
	}
	for (i = 0; i < HALVES; i++) {
		pthread_join(halves[i].thread, NULL);
		memcpy(notes->digest[i], halves[i].digest, DIGEST);
	}
}

static uint8_t *map_file(int fd, size_t size, int prot)
{
	void *map = mmap(NULL, size, prot, MAP_SHARED, fd, 0);

	if (map == MAP_FAILED)
		die("mmap", errno);
	return map;
}

static uint64_t *frames_of(const uint8_t *map, size_t pages)
{
	uint64_t *frames = calloc(pages, sizeof(*frames));
	int fd = open("/proc/self/pagemap", O_RDONLY);
	size_t i;

	if (fd < 0 || !frames)
		die("pagemap", errno);
	for (i = 0; i < pages; i++)
		*(volatile const uint8_t *)(map + i * LUO_PAGE);
	if (pread(fd, frames, pages * sizeof(*frames),
		  (uintptr_t)map / LUO_PAGE * sizeof(*frames)) !=
	    (ssize_t)(pages * sizeof(*frames)))
		die("read pagemap", errno);
	for (i = 0; i < pages; i++) {
		/* Bit 63: present. Bits 0 to 54: the frame number. */
		if (!(frames[i] >> 63))
			die("page not present", EFAULT);
		frames[i] &= (1ULL << 55) - 1;
		if (!frames[i])
			die("frame numbers are hidden", EPERM);
	}
	close(fd);
	return frames;
}

static void put(int fd, const void *data, size_t len)
{
	const char *p = data;
	ssize_t n;

	for (; len; p += n, len -= n) {
		n = write(fd, p, len);
		if (n <= 0)
			die("write notes", errno);
	}
}

static void get(int fd, void *data, size_t len)
{
	char *p = data;
	ssize_t n;

	for (; len; p += n, len -= n) {
		n = read(fd, p, len);
		if (n <= 0)
			die("read notes", errno);
	}
}

static void show_digest(const struct notes *notes)
{
	char first[DIGEST_TEXT], second[DIGEST_TEXT];

	printf("DEMO   SHA-256 of the first half  %s\n",
	       text_of(notes->digest[0], first));
	printf("DEMO                  the second  %s\n",
	       text_of(notes->digest[1], second));
}

static void show(const char *what, const struct notes *notes)
{
	printf("DEMO preserved: %s, %llu bytes in %llu pages, position %lld, seals %#x\n",
	       what, (unsigned long long)notes->size,
	       (unsigned long long)notes->pages, (long long)notes->position,
	       notes->seals);
	show_digest(notes);
}

static void preserve_one(int session, int out, const char *what, uint64_t token,
			 size_t size, off_t position, int seals)
{
	struct notes notes = { .token = token, .size = size };
	int fd = memfd_create(what, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	uint64_t *frames;
	uint8_t *map;
	int error;

	if (fd < 0 || ftruncate(fd, size))
		die("memfd", errno);
	map = map_file(fd, size, PROT_READ | PROT_WRITE);
	digest_halves(map, size, 0x9e3779b97f4a7c15 * token, true, &notes);
	if (seals && fcntl(fd, F_ADD_SEALS, seals))
		die("F_ADD_SEALS", errno);
	if (lseek(fd, position, SEEK_SET) != position)
		die("lseek", errno);
	error = luo_preserve(session, fd, token);
	if (error)
		die("preserve", -error);
	notes.pages = (size + LUO_PAGE - 1) / LUO_PAGE;
	notes.position = position;
	notes.seals = luo_seals(fd);
	/* Noted last: preserve may migrate pages out of CMA. */
	frames = frames_of(map, notes.pages);
	put(out, &notes, sizeof(notes));
	put(out, frames, notes.pages * sizeof(*frames));
	show(what, &notes);
	free(frames);
	munmap(map, size);
	close(fd);
}

static int stage_1(void)
{
	int out = open(NOTES, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	int dev = luo_open(), session;

	if (out < 0)
		die(NOTES, errno);
	if (dev < 0)
		die(LUO_DEVICE, -dev);
	session = luo_create(dev, SESSION);
	if (session < 0)
		die("create_session", -session);
	close(dev);
	preserve_one(session, out, "large memfd", BIG_TOKEN, BIG_SIZE, 0, 0);
	preserve_one(session, out, "small sealed memfd", SMALL_TOKEN,
		     SMALL_SIZE, SMALL_POS, SMALL_SEALS);
	if (close(out))
		die("close notes", errno);
	fflush(stdout);
	/* This child keeps the session open until the kexec. */
	switch (fork()) {
	case -1:
		die("fork", errno);
		break;
	case 0:
		setsid();
		for (;;)
			pause();
	}
	return 0;
}

static void verify_one(int in, int fd, const char *what)
{
	struct notes notes, now = {};
	uint64_t *frames, *before;
	char line[128];
	size_t i, moved = 0;
	uint8_t *map;

	get(in, &notes, sizeof(notes));
	before = calloc(notes.pages, sizeof(*before));
	if (!before)
		die("calloc", ENOMEM);
	get(in, before, notes.pages * sizeof(*before));
	now = notes;
	now.size = luo_size(fd);
	now.position = lseek(fd, 0, SEEK_CUR);
	now.seals = luo_seals(fd);
	snprintf(line, sizeof(line), "size of the %s: %llu", what,
		 (unsigned long long)now.size);
	compare(line, now.size == notes.size);
	if (now.size != notes.size)
		return;
	snprintf(line, sizeof(line), "position of the %s: %lld", what,
		 (long long)now.position);
	compare(line, now.position == notes.position);
	snprintf(line, sizeof(line), "seals of the %s: %#x", what, now.seals);
	compare(line, now.seals == notes.seals);
	map = map_file(fd, now.size, PROT_READ);
	frames = frames_of(map, notes.pages);
	for (i = 0; i < notes.pages; i++)
		moved += frames[i] != before[i];
	snprintf(line, sizeof(line), "physical frames of the %s: %zu of %llu",
		 what, notes.pages - moved, (unsigned long long)notes.pages);
	compare(line, !moved);
	digest_halves(map, now.size, 0, false, &now);
	snprintf(line, sizeof(line), "content of the %s", what);
	compare(line, !memcmp(now.digest, notes.digest, sizeof(now.digest)));
	show_digest(&now);
	munmap(map, now.size);
	free(frames);
	free(before);
}

/* Whether the memfd can be written, grown and read like any other. */
static bool usable(int fd, size_t size, const char *text)
{
	char buf[32] = {};
	size_t len = strlen(text);

	return pwrite(fd, text, len, size / 2) == (ssize_t)len &&
	       !ftruncate(fd, size + LUO_PAGE) &&
	       pwrite(fd, text, len, size + 7) == (ssize_t)len &&
	       pread(fd, buf, len, size / 2) == (ssize_t)len &&
	       !memcmp(buf, text, len) &&
	       pread(fd, buf, len, size + 7) == (ssize_t)len &&
	       !memcmp(buf, text, len) && !ftruncate(fd, size);
}

static int stage_2(void)
{
	int dev = luo_open(), in, session, big, small, error;
	char byte;

	if (dev < 0)
		die(LUO_DEVICE, -dev);
	session = luo_retrieve(dev, SESSION);
	if (session < 0)
		die("retrieve_session", -session);
	close(dev);
	big = luo_retrieve_fd(session, BIG_TOKEN);
	if (big < 0)
		die("retrieve the large memfd", -big);
	if (pread(big, &byte, 1, 0) != 1)
		die("read the first byte", errno);
	printf("MARK first-byte 0\n");
	fflush(stdout);
	small = luo_retrieve_fd(session, SMALL_TOKEN);
	if (small < 0)
		die("retrieve the small memfd", -small);
	in = open(NOTES, O_RDONLY);
	if (in < 0)
		die(NOTES, errno);
	verify_one(in, big, "large memfd");
	verify_one(in, small, "small sealed memfd");
	compare("usability: written to, grown and read before finish",
		usable(big, BIG_SIZE, "written before finish"));
	compare("the seals: the small memfd refuses to grow and to shrink",
		ftruncate(small, SMALL_SIZE + 1) && errno == EPERM &&
			ftruncate(small, 1) && errno == EPERM);
	error = luo_finish(session);
	if (error)
		die("finish", -error);
	close(session);
	compare("usability: written to, grown and read after finish and close",
		usable(big, BIG_SIZE, "written after finish"));
	return failures ? 1 : 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "1"))
		return stage_1();
	if (argc == 2 && !strcmp(argv[1], "2"))
		return stage_2();
	fprintf(stderr, "usage: demo 1|2\n");
	return 2;
}
