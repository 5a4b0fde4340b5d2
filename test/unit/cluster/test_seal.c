/* Encrypted secrets: they open with their key and under their name only; and the file of keys. */
#include "base/err.h"
#include "node/cluster/seal.h"

// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct span about = { "\1example.org\0s1", 15 }, plain = { "the private key", 15 };

static void opens(void **state)
{
    (void)state;
    struct seal_key key;
    struct buf sealed, again, out;
    buf_init(&sealed, 1000);
    buf_init(&again, 1000);
    buf_init(&out, 1000);
    assert_int_equal(seal_key_make(7, &key), 0);
    assert_int_equal(seal_put(&key, about, plain, &sealed), 0);
    assert_null(memmem(sealed.data, sealed.len, "private", 7));
    assert_int_equal(seal_open(&key, about, buf_span(&sealed), &out), 0);
    assert_true(span_eq(buf_span(&out), plain));
    /* never the same twice */
    assert_int_equal(seal_put(&key, about, plain, &again), 0);
    assert_false(span_eq(buf_span(&sealed), buf_span(&again)));
    buf_fini(&sealed);
    buf_fini(&again);
    buf_fini(&out);
}

static void stays_closed(void **state)
{
    (void)state;
    struct seal_key key, other;
    struct buf sealed, out;
    buf_init(&sealed, 1000);
    buf_init(&out, 1000);
    assert_int_equal(seal_key_make(1, &key), 0);
    assert_int_equal(seal_key_make(1, &other), 0);
    assert_int_equal(seal_put(&key, about, plain, &sealed), 0);
    assert_int_equal(seal_open(&other, about, buf_span(&sealed), &out), ERR_DENIED);
    assert_int_equal(seal_open(&key, SPAN_LIT("\1example.org\0s2"), buf_span(&sealed), &out), ERR_DENIED);
    for (size_t i = 0; i < sealed.len; i++) {
        sealed.data[i] ^= 1;
        assert_int_equal(seal_open(&key, about, buf_span(&sealed), &out), ERR_DENIED);
        sealed.data[i] ^= 1;
        assert_int_equal(seal_open(&key, about, span_of(sealed.data, i), &out), ERR_DENIED);
    }
    assert_int_equal(out.len, 0);
    buf_fini(&sealed);
    buf_fini(&out);
}

static void keys_of_a_file(void **state)
{
    (void)state;
    struct seal_keys keys = { 0 }, back;
    struct seal_key key;
    struct buf text;
    buf_init(&text, 2000);
    for (uint64_t i = 1; i <= SEAL_KEYS_MAX; i++) {
        assert_int_equal(seal_key_make(i, &key), 0);
        assert_int_equal(seal_keys_add(&keys, &key), 0);
        assert_int_equal(seal_keys_add(&keys, &key), 0); /* again */
    }
    assert_int_equal(keys.n, SEAL_KEYS_MAX);
    assert_int_equal(seal_keys_format(&keys, &text), 0);
    assert_int_equal(seal_keys_parse(buf_span(&text), &back), 0);
    assert_int_equal(back.n, keys.n);
    assert_memory_equal(keys.key, back.key, sizeof keys.key);
    assert_non_null(seal_keys_find(&back, 8, key.id));
    assert_null(seal_keys_find(&back, 7, key.id));
    key.number++;
    assert_int_equal(seal_keys_add(&keys, &key), ERR_LIMIT);
    for (size_t i = 1; i < text.len; i++) /* cut off anywhere but behind a line */
        if (text.data[i - 1] != '\n')
            assert_int_equal(seal_keys_parse(span_of(text.data, i), &back), ERR_BAD);
    assert_int_equal(seal_keys_parse(SPAN_LIT("1 zz\n"), &back), ERR_BAD);
    assert_int_equal(seal_keys_parse(SPAN_LIT("\n"), &back), ERR_BAD);
    assert_int_equal(back.n, 0);
    buf_fini(&text);
}

static void saved_and_loaded(void **state)
{
    (void)state;
    char dir[] = "/tmp/test_seal_XXXXXX", path[64];
    struct seal_keys keys = { 0 }, back;
    struct seal_key key;
    struct stat st;
    struct buf why;
    buf_init(&why, 1000);
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/%s", dir, SEAL_FILE);
    assert_int_equal(seal_keys_load(dir, &back, &why), 0);
    assert_int_equal(back.n, 0);
    assert_int_equal(seal_key_make(1, &key), 0);
    assert_int_equal(seal_keys_add(&keys, &key), 0);
    assert_int_equal(seal_keys_save(dir, &keys, &why), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(seal_keys_load(dir, &back, &why), 0);
    assert_int_equal(back.n, keys.n);
    assert_memory_equal(keys.key, back.key, sizeof keys.key);
    /* whoever else may read it has it already */
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(seal_keys_load(dir, &back, &why), ERR_DENIED);
    assert_non_null(memmem(why.data, why.len, "chmod 600", 9));
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(truncate(path, 20), 0);
    assert_int_equal(seal_keys_load(dir, &back, &why), ERR_CORRUPT);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
    buf_fini(&why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens),
        cmocka_unit_test(stays_closed),
        cmocka_unit_test(keys_of_a_file),
        cmocka_unit_test(saved_and_loaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
