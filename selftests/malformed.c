// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two million malformed ioctls on the device and an outgoing session: each must
 * fail with the right errno, and none may change anything. This shows the order of
 * the checks of every argument, and that a check which fails leaves no trace.
 *
 * MALFORMED_SEED=n repeats the calls of an earlier run, MALFORMED_CALL=n as well
 * only the call of that number. MALFORMED_CALLS=n makes n random calls.
 */
#include "lib/malform.h"
#include "lib/usage.h"

#include <sys/random.h>
#include <time.h>

#define SIZES 4096
#define RANDOM_CALLS 1000000
#define CHECK_EVERY 50000
#define WARM_UP 20000

/*
 * Where every size is tried. With @from_end, the argument ends at the offset.
 */
static const struct {
	long offset;
	bool from_end;
} places[] = {
	{ MALFORM_WRITABLE }, /* aligned, writable */
	{ 3 }, /* unaligned */
	{ LUO_PAGE - 5 }, /* across two pages */
	{ 2 * LUO_PAGE - 13 }, /* runs into a read-only page */
	{ 2 * LUO_PAGE }, /* read-only */
	{ 4 * LUO_PAGE - 6 }, /* read-only, runs into an unmapped page */
	{ 4 * LUO_PAGE }, /* unmapped */
	{ 7 * LUO_PAGE - 2 }, /* its size runs into an unmapped page */
	{ 7 * LUO_PAGE, true }, /* ends where an unmapped page starts */
	{ 7 * LUO_PAGE + 1, true }, /* one byte too far */
};

FIXTURE(malformed)
{
	struct malform on;
	struct malform_state before;
	struct usage usage;
	bool one;
	__u64 only;
	int failures;
};

static __u64 number_from(const char *variable, __u64 otherwise)
{
	const char *text = getenv(variable);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

FIXTURE_SETUP(malformed)
{
	struct malform *on = &self->on;
	__u64 seed;

	on->session = -1;
	on->dev = luo_open();
	if (on->dev == -ENOENT || on->dev == -ENODEV || on->dev == -ENXIO)
		SKIP(return, "no %s: is the module loaded?", LUO_DEVICE);
	ASSERT_GE(on->dev, 0);
	ASSERT_EQ(0, malform_map());
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		seed = time(NULL);
	on->seed = number_from("MALFORMED_SEED", seed & 0xffffffff);
	self->one = getenv("MALFORMED_CALL");
	self->only = number_from("MALFORMED_CALL", 0);
	on->taken = "malformed";
	on->token = 0x0123456789abcdef;
	on->session = luo_create(on->dev, on->taken);
	ASSERT_GE(on->session, 0);
	on->memfd = luo_memfd(0, LUO_PAGE, 1);
	on->busy = luo_memfd(0, LUO_PAGE, 2);
	on->other = open("/dev/null", O_RDWR | O_CLOEXEC);
	ASSERT_GE(on->other, 0);
	ASSERT_EQ(0, luo_preserve(on->session, on->busy, on->token));
	malform_read_state(on, &self->before);
}

FIXTURE_TEARDOWN(malformed)
{
	close(self->on.session);
	close(self->on.dev);
}

/* The names, tokens and files that the calls failed to get are still free. */
static void expect_nothing_left(struct __test_metadata *_metadata,
				FIXTURE_DATA(malformed) * self)
{
	struct malform *on = &self->on;
	char name[LUO_NAME_MAX];
	int i, session;

	for (i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "malform-%d", i);
		session = luo_create(on->dev, name);
		EXPECT_GE(session, 0)
		TH_LOG("create_session \"%s\"", name);
		EXPECT_EQ(0, luo_preserve(session, on->memfd, i))
		TH_LOG("the memfd is preserved somewhere");
		close(session);
	}
	EXPECT_EQ(-EEXIST, luo_create(on->dev, on->taken));
	EXPECT_EQ(-EEXIST, luo_preserve(on->session, on->memfd, on->token));
	EXPECT_EQ(LUO_SAME, luo_check(on->memfd, 0, LUO_PAGE, 1));
	EXPECT_EQ(LUO_SAME, luo_check(on->busy, 0, LUO_PAGE, 2));
	EXPECT_EQ(0, luo_truncate(on->memfd, LUO_PAGE));
	EXPECT_EQ(0, luo_preserve(on->session, on->memfd, 1));
}

/* False after ten failures: more are not worth reading. */
static bool make(FIXTURE_DATA(malformed) * self, struct malform_call *call)
{
	if (self->one && call->number != self->only)
		return true;
	if (!malform_make(&self->on, call))
		self->failures++;
	return self->failures < 10;
}

static bool random_calls(FIXTURE_DATA(malformed) * self, __u64 from, __u64 to)
{
	struct malform_call call;

	for (; from < to; from++) {
		malform_random(&self->on, from, &call);
		if (!make(self, &call))
			return false;
	}
	return true;
}

static __u64 start(struct __test_metadata *_metadata,
		   FIXTURE_DATA(malformed) * self)
{
	struct timespec now;

	/* These calls warm up caches that grow only once. */
	random_calls(self, 0, WARM_UP);
	self->usage = measure();
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ULL + now.tv_nsec / 1000000;
}

static void end(struct __test_metadata *_metadata,
		FIXTURE_DATA(malformed) * self, __u64 started)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	malform_print(&self->on);
	TH_LOG("%lu calls, %llu ms", self->on.calls,
	       now.tv_sec * 1000ULL + now.tv_nsec / 1000000 - started);
	EXPECT_EQ(0, self->failures);
	EXPECT_TRUE(malform_is_as_before(&self->on, &self->before));
	expect_back(_metadata, &self->usage);
	expect_nothing_left(_metadata, self);
}

/* Every size of every command at each kind of place. */
TEST_F_TIMEOUT(malformed, every_size, 240)
{
	__u64 started = start(_metadata, self), number = 0;
	struct malform_call call;
	long size, offset;
	size_t which, tail, i;

	for (size = 0; size <= SIZES; size++) {
		for (which = 0; which < MALFORM_COMMANDS; which++) {
			for (tail = TAIL_ZERO; tail <= TAIL_NOISE; tail++) {
				for (i = 0; i < ARRAY_SIZE(places); i++) {
					offset = places[i].offset;
					if (places[i].from_end)
						offset -= size;
					malform_at(&self->on, number++, which,
						   size, tail, offset, &call);
					if (!make(self, &call))
						goto out;
				}
			}
		}
		if (size % 512)
			continue;
		EXPECT_TRUE(malform_is_as_before(&self->on, &self->before));
	}
out:
	end(_metadata, self, started);
}

/* Random commands, known and unknown, at random places. */
TEST_F_TIMEOUT(malformed, random, 240)
{
	__u64 calls = number_from("MALFORMED_CALLS", RANDOM_CALLS), at;
	__u64 started = start(_metadata, self);

	if (self->one)
		calls = self->only + 1;
	for (at = WARM_UP; at < calls; at += CHECK_EVERY) {
		if (!random_calls(self, at,
				  at + CHECK_EVERY < calls ? at + CHECK_EVERY :
							     calls))
			break;
		EXPECT_TRUE(malform_is_as_before(&self->on, &self->before));
	}
	end(_metadata, self, started);
}

TEST_HARNESS_MAIN
