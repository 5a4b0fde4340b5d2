/* Every command's encoding: extremes go there and back, what is outside of the limits is not written, and no
 * damaged bytes are read as anything but what they would be written as.
 */
#include "base/err.h"
#include "fields.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum extreme { SMALL, LARGE, MIXED };

static char letters[COMMAND_CHUNK_MAX + 100];

/* Different in each field, so that two that are swapped differ. */
static void fill_field(struct field *f, enum extreme extreme, unsigned salt)
{
    switch (f->kind) {
    case FIELD_NUMBER:
        memset(f->p, extreme == SMALL ? 0 : extreme == LARGE ? 0xff : (int)(salt & 0x7f), f->size);
        break;
    case FIELD_CHOICE:
        *(uint8_t *)f->p = (uint8_t)(extreme == SMALL ? f->min : f->max);
        break;
    case FIELD_BOOL:
        *(bool *)f->p = extreme == LARGE || (extreme == MIXED && salt % 2 == 1);
        break;
    case FIELD_SPAN: {
        size_t few = 1 + salt % 30, n = extreme == SMALL                    ? f->min
                                        : extreme == LARGE || few > f->size ? f->size
                                                                            : few;
        *(struct span *)f->p = span_of(letters + salt % 26, n);
        break;
    }
    case FIELD_RAW:
        memset(f->p, extreme == SMALL ? 0 : extreme == LARGE ? 0xff : (int)(salt & 0xff), f->size);
        break;
    }
}

static void make(uint8_t type, enum extreme extreme, struct command *c)
{
    memset(c, 0, sizeof *c);
    c->type = type;
    if (type == COMMAND_RETURN)
        c->ret.n = extreme == SMALL ? 0 : extreme == LARGE ? COMMAND_RETURN_MAX : 3;
    struct fields f;
    fields_of(c, &f);
    for (size_t i = 0; i < f.n; i++)
        fill_field(&f.at[i], extreme, (unsigned)(i * 7 + type));
}

static void assert_same(struct command *a, struct command *b)
{
    struct fields x, y;
    assert_int_equal(a->type, b->type);
    if (a->type == COMMAND_RETURN)
        assert_int_equal(a->ret.n, b->ret.n);
    fields_of(a, &x);
    fields_of(b, &y);
    assert_int_equal(x.n, y.n);
    for (size_t i = 0; i < x.n; i++) {
        if (x.at[i].kind == FIELD_SPAN)
            assert_true(span_eq(*(struct span *)x.at[i].p, *(struct span *)y.at[i].p));
        else
            assert_memory_equal(x.at[i].p, y.at[i].p, x.at[i].size);
    }
}

static void encode(const struct command *c, struct buf *out)
{
    buf_init(out, COMMAND_BYTES_MAX);
    assert_int_equal(command_encode(c, out), 0);
}

/* In a block of exactly n bytes, so that a sanitizer sees a read behind its end. */
static int decode(const void *p, size_t n, struct command *out, void **block)
{
    *block = malloc(n == 0 ? 1 : n);
    assert_non_null(*block);
    if (n != 0)
        memcpy(*block, p, n);
    struct cursor c;
    cursor_init(&c, *block, n);
    int err = command_decode(&c, out);
    if (err == 0)
        assert_int_equal(cursor_left(&c), 0);
    return err;
}

static void test_there_and_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < ncommand_types; i++)
        for (enum extreme e = SMALL; e <= MIXED; e++) {
            struct command c, again;
            struct buf b;
            void *block;
            make(command_types[i], e, &c);
            encode(&c, &b);
            assert_true(b.len <= COMMAND_BYTES_MAX);
            assert_int_equal(decode(b.data, b.len, &again, &block), 0);
            assert_same(&c, &again);
            free(block);
            buf_fini(&b);
        }
}

static void test_over_a_limit(void **state)
{
    (void)state;
    for (size_t i = 0; i < ncommand_types; i++) {
        struct command c;
        struct fields f;
        make(command_types[i], MIXED, &c);
        fields_of(&c, &f);
        for (size_t k = 0; k < f.n; k++) {
            struct buf b;
            buf_init(&b, SIZE_MAX);
            buf_put_str(&b, "before");
            if (f.at[k].kind == FIELD_SPAN) {
                struct span *s = f.at[k].p, was = *s;
                *s = span_of(letters, f.at[k].size + 1);
                assert_int_equal(command_encode(&c, &b), ERR_LIMIT);
                if (f.at[k].min != 0) {
                    *s = span_of(letters, 0);
                    assert_int_equal(command_encode(&c, &b), ERR_LIMIT);
                }
                *s = was;
            } else if (f.at[k].kind == FIELD_CHOICE) {
                uint8_t was = *(uint8_t *)f.at[k].p;
                *(uint8_t *)f.at[k].p = (uint8_t)(f.at[k].max + 1);
                assert_int_equal(command_encode(&c, &b), ERR_LIMIT);
                if (f.at[k].min != 0) {
                    *(uint8_t *)f.at[k].p = (uint8_t)(f.at[k].min - 1);
                    assert_int_equal(command_encode(&c, &b), ERR_LIMIT);
                }
                *(uint8_t *)f.at[k].p = was;
            }
            assert_true(span_eq(buf_span(&b), SPAN_LIT("before"))); /* nothing is left of it */
            buf_fini(&b);
        }
    }
    struct command c = { .type = COMMAND_RETURN, .ret = { .n = COMMAND_RETURN_MAX + 1 } };
    struct buf b;
    buf_init(&b, SIZE_MAX);
    assert_int_equal(command_encode(&c, &b), ERR_LIMIT);
    c = (struct command){ .type = 0 };
    assert_int_equal(command_encode(&c, &b), ERR_LIMIT);
    c = (struct command){ .type = 255 };
    assert_int_equal(command_encode(&c, &b), ERR_LIMIT);
    assert_int_equal(b.len, 0);
    buf_fini(&b);
}

static void test_cut_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < ncommand_types; i++) {
        struct command c, again;
        struct buf b;
        make(command_types[i], MIXED, &c);
        encode(&c, &b);
        for (size_t n = 0; n < b.len; n++) {
            void *block;
            assert_int_equal(decode(b.data, n, &again, &block), ERR_TORN);
            free(block);
        }
        buf_fini(&b);
    }
}

/* Whatever is taken must be what would be written. */
static void assert_canonical(const char *p, size_t n)
{
    struct command c;
    void *block = malloc(n);
    assert_non_null(block);
    memcpy(block, p, n);
    struct cursor in;
    cursor_init(&in, block, n);
    int err = command_decode(&in, &c);
    if (err == 0) {
        struct buf again;
        buf_init(&again, COMMAND_BYTES_MAX);
        assert_int_equal(command_encode(&c, &again), 0);
        assert_int_equal(again.len, n - cursor_left(&in));
        assert_memory_equal(again.data, p, again.len);
        buf_fini(&again);
    } else {
        assert_true(err == ERR_TORN || err == ERR_CORRUPT || err == ERR_NOT_FOUND);
    }
    free(block);
}

static void test_any_byte_changed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ncommand_types; i++)
        for (enum extreme e = SMALL; e <= MIXED; e++) {
            struct command c;
            struct buf b;
            make(command_types[i], e, &c);
            encode(&c, &b);
            for (size_t at = 0; at < b.len; at++) {
                /* Of a large one: the front, where all lengths but the last few are, and the end. */
                if (b.len > 2000 && at > 120 && at < b.len - 60)
                    continue;
                char was = b.data[at];
                unsigned step = e == MIXED ? 1 : 37;
                for (unsigned v = 0; v < 256; v += step) {
                    b.data[at] = (char)(uint8_t)v;
                    assert_canonical(b.data, b.len);
                }
                b.data[at] = was;
            }
            buf_fini(&b);
        }
}

/* A run of commands is read one by one, and one of an unknown type is told from a damaged one. */
static void test_one_after_another(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, SIZE_MAX);
    struct command c, again;
    for (size_t i = 0; i < ncommand_types; i++) {
        make(command_types[i], MIXED, &c);
        assert_int_equal(command_encode(&c, &b), 0);
    }
    struct cursor in;
    cursor_init(&in, b.data, b.len);
    for (size_t i = 0; i < ncommand_types; i++) {
        assert_int_equal(command_decode(&in, &again), 0);
        make(command_types[i], MIXED, &c);
        assert_same(&c, &again);
    }
    assert_int_equal(command_decode(&in, &again), ERR_TORN);
    for (unsigned type = 0; type < 256; type++) {
        bool known = strcmp(command_type_name((uint8_t)type), "unknown") != 0;
        size_t listed = 0;
        for (size_t i = 0; i < ncommand_types; i++)
            listed += command_types[i] == type;
        assert_int_equal(known, listed);
        b.data[0] = (char)(uint8_t)type;
        cursor_init(&in, b.data, b.len);
        if (!known)
            assert_int_equal(command_decode(&in, &again), ERR_NOT_FOUND);
    }
    buf_fini(&b);
}

/* The format itself, byte by byte: it is on disk and on the wire. */
static void test_format(void **state)
{
    (void)state;
    struct command c = { .type = COMMAND_GRANT,
                         .origin = { 0x0102, 3, 2 },
                         .grant = { SPAN_LIT("a@b"), SPAN_LIT("t"), 2, 5, 9 } };
    struct buf b;
    encode(&c, &b);
    static const uint8_t want[] = { 6,   45,  0, 0, 0, 2, 1,   0, 0, 0, 0, 0, 0, 3, 0, 0, 0,
                                    0,   0,   0, 0, 2, 0, 0,   0, 0, 0, 0, 0, 3, 0, 0, 0, 'a',
                                    '@', 'b', 1, 0, 0, 0, 't', 2, 5, 0, 0, 0, 9, 0, 0, 0 };
    assert_int_equal(b.len, sizeof want);
    assert_memory_equal(b.data, want, sizeof want);
    buf_fini(&b);
}

int main(void)
{
    memset(letters, 'x', sizeof letters);
    for (size_t i = 0; i < 26; i++)
        letters[i] = (char)('a' + i);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),    cmocka_unit_test(test_over_a_limit),
        cmocka_unit_test(test_cut_anywhere),      cmocka_unit_test(test_any_byte_changed),
        cmocka_unit_test(test_one_after_another), cmocka_unit_test(test_format),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
