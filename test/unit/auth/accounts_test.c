/* The accounts file: reading, editing, importing, and what a second writer and a crash find. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "node/auth/accounts.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* SHA-512 crypt with few rounds, to be quick: "secret" */
#define HASH "$6$rounds=1000$saltsalt$"
static char hash6[ACCOUNT_HASH_MAX + 1];
static char dir[64], path[96];

static void make_hash(void);

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/turnpike-auth-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return 1;
    snprintf(path, sizeof path, "%s/accounts", dir);
    make_hash();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -r %s", dir);
    return system(cmd);
}

#include <crypt.h>
static void make_hash(void)
{
    struct crypt_data data = { 0 };
    strcpy(hash6, crypt_r("secret", HASH, &data));
}

static void put(const char *text, mode_t mode)
{
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static char *get(void)
{
    static char text[65536];
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t n = read(fd, text, sizeof text - 1);
    assert_true(n >= 0);
    text[n] = '\0';
    close(fd);
    return text;
}

static void test_table(void **state)
{
    (void)state;
    char text[2048];
    struct account_table *t;
    snprintf(text, sizeof text,
             "# "
             "people\n\nAnna@Example.org:%s:person:acme:\nnews@example.org:%s:bulk:acme:senders=news.example."
             "org,X@y.z "
             "disabled\r\nprinter:!:device\nshort:%s\n",
             hash6, hash6, hash6);
    put(text, 0640);
    assert_int_equal(account_table_load(path, &t, NULL), 0);
    assert_int_equal(account_table_len(t), 4);
    const struct account *a = account_table_find(t, SPAN_LIT("anna@example.org"));
    assert_non_null(a);
    assert_string_equal(a->tenant, "acme");
    assert_string_equal(a->senders, "");
    assert_false(a->disabled);
    assert_true(account_hash_verify(a->hash, SPAN_LIT("secret")));
    a = account_table_find(t, SPAN_LIT("news@example.org"));
    assert_int_equal(a->class, ACCOUNT_BULK);
    assert_string_equal(a->senders, "news.example.org,x@y.z");
    assert_true(a->disabled);
    assert_int_equal(account_table_at(t, 2)->class, ACCOUNT_DEVICE);
    assert_string_equal(account_table_at(t, 3)->tenant, "");
    assert_null(account_table_find(t, SPAN_LIT("Anna@Example.org")));
    assert_null(account_table_find(t, SPAN_LIT("anna@example")));
    struct account_table *again = account_table_hold(t);
    account_table_rele(t);
    assert_int_equal(account_table_len(again), 4);
    account_table_rele(again);
}

static void test_bad_lines(void **state)
{
    (void)state;
    static const struct {
        const char *line, *want; /* % is a hash */
    } cases[] = {
        { "anna\n", "f:1: expected name:hash:class:tenant:options\n" },
        { ":%\n", "f:1: the name is empty, too long, or has a character that names can't have\n" },
        { "a b:%\n", "f:1: the name is empty, too long, or has a character that names can't have\n" },
        { "a:secret\n", "f:1: the second field is not a password hash that crypt(5) knows\n" },
        { "a:\n", "f:1: the second field is not a password hash that crypt(5) knows\n" },
        { "a:{CRYPT}%\n", "f:1: the second field is not a password hash that crypt(5) knows\n" },
        { "\n#\na:%:vip\n", "f:3: the class must be person, device or bulk\n" },
        { "a:%:person::sender=x\n", "f:1: unknown option; known are senders=LIST and disabled\n" },
        { "a:%:person::senders=x y\n", "f:1: unknown option; known are senders=LIST and disabled\n" },
        { "a:%:person::senders=,\n", "f:1: a sender is an address, a domain or \"*\"\n" },
        { "a:%\nb:!\nA:%\n", "f: the account a is there twice\n" },
        { "a:x\nb:%\nc:y\n", "f:1: the second field is not a password hash that crypt(5) knows\n"
                             "f:3: the second field is not a password hash that crypt(5) knows\n" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf text, why;
        struct account_table *t;
        buf_init(&text, 4096);
        buf_init(&why, 4096);
        for (const char *p = cases[i].line; *p != '\0'; p++)
            if (*p == '%')
                buf_put_str(&text, hash6);
            else
                buf_put_char(&text, *p);
        assert_int_equal(account_table_parse("f", buf_span(&text), &t, &why), ERR_BAD);
        assert_null(t);
        buf_put_char(&why, '\0');
        assert_string_equal(why.data, cases[i].want);
        buf_fini(&text);
        buf_fini(&why);
    }
    struct account_table *t;
    assert_int_equal(account_table_parse("f", span_of("a\0:!\n", 5), &t, NULL), ERR_BAD);
}

static void test_modes(void **state)
{
    (void)state;
    struct account_table *t;
    struct buf why;
    buf_init(&why, 4096);
    unlink(path);
    assert_int_equal(account_table_load(path, &t, &why), -ENOENT);
    assert_int_equal(why.len, 0);
    put("a:!\n", 0644);
    assert_int_equal(account_table_load(path, &t, &why), ERR_DENIED);
    assert_non_null(memmem(why.data, why.len, "chmod 0640", 10));
    assert_int_equal(account_table_load(dir, &t, &why), -EISDIR);
    put("", 0600);
    assert_int_equal(account_table_load(path, &t, &why), 0);
    assert_int_equal(account_table_len(t), 0);
    assert_null(account_table_find(t, SPAN_LIT("a")));
    account_table_rele(t);
    buf_fini(&why);
}

static void test_hashes(void **state)
{
    (void)state;
    char hash[ACCOUNT_HASH_MAX + 1], other[ACCOUNT_HASH_MAX + 1], big[600];
    struct span h;
    assert_int_equal(account_hash_password(SPAN_LIT("open sesame"), hash), 0);
    assert_int_equal(strncmp(hash, "$y$", 3), 0);
    assert_int_equal(account_hash_password(SPAN_LIT("open sesame"), other), 0);
    assert_string_not_equal(hash, other);
    assert_true(account_hash_verify(hash, SPAN_LIT("open sesame")));
    assert_false(account_hash_verify(hash, SPAN_LIT("open sesame ")));
    assert_false(account_hash_verify(hash, SPAN_LIT("")));
    assert_false(account_hash_verify("!", SPAN_LIT("!")));
    assert_false(account_hash_verify("*0", SPAN_LIT("x")));
    assert_int_equal(account_hash_password(SPAN_LIT(""), hash), ERR_BAD);
    assert_int_equal(account_hash_password(span_of("a\0b", 3), hash), ERR_BAD);
    memset(big, 'x', sizeof big);
    assert_int_equal(account_hash_password(span_of(big, 512), hash), ERR_BAD);
    assert_int_equal(account_hash_password(span_of(big, 511), hash), 0);
    assert_true(account_hash_verify(hash, span_of(big, 511)));

    snprintf(big, sizeof big, "{SHA512-CRYPT}%s", hash6);
    assert_true(account_hash_recognise(span_str(big), &h));
    assert_string_equal(h.p, hash6);
    static const char *const none[] = { "",
                                        "secret",
                                        "{PLAIN}secret",
                                        "{SSHA}abcdefghijklmnopqrstuvwxyz0123==",
                                        "$y$",
                                        "abJnggxhB/yWI",
                                        "$z$saltsalt$abcdefghijklmnop",
                                        "$6$a b$cdefghijklmnopqrst" };
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        if (account_hash_recognise(span_str(none[i]), &h))
            fail_msg("%s was taken for a hash", none[i]);
}

static struct account_spec spec(const char *name)
{
    return (struct account_spec){ .name = span_str(name), .hash = span_str(hash6) };
}

static void test_edit(void **state)
{
    (void)state;
    struct accounts_edit *e;
    struct buf why;
    struct account_table *t;
    buf_init(&why, 65536);
    put("# the boss\nboss@example.org:!:person:acme:\n\n# end\n", 0600);
    assert_int_equal(accounts_edit_open(path, &e, &why), 0);
    struct account_spec s = spec("Anna@Example.org");
    assert_int_equal(accounts_edit_add(e, &s, &why), 0);
    assert_int_equal(accounts_edit_add(e, &s, &why), ERR_EXISTS);
    s = spec("a b");
    assert_int_equal(accounts_edit_add(e, &s, &why), ERR_BAD);
    s = spec("evil\nroot:!");
    assert_int_equal(accounts_edit_add(e, &s, &why), ERR_BAD);
    s = spec("evil");
    s.tenant = SPAN_LIT("x\nroot:!");
    assert_int_equal(accounts_edit_add(e, &s, &why), ERR_BAD);
    s.tenant = SPAN_LIT("x:senders=*");
    assert_int_equal(accounts_edit_add(e, &s, &why), ERR_BAD);
    s = spec("evil");
    s.senders = SPAN_LIT("a@b disabled");
    assert_int_equal(accounts_edit_add(e, &s, &why), ERR_BAD);
    s = spec("evil");
    s.hash = SPAN_LIT("secret");
    assert_int_equal(accounts_edit_add(e, &s, &why), ERR_BAD);
    s = spec("news@example.org");
    s.class = ACCOUNT_BULK;
    s.senders = SPAN_LIT("*");
    s.tenant = SPAN_LIT("letters");
    assert_int_equal(accounts_edit_add(e, &s, &why), 0);
    assert_int_equal(accounts_edit_passwd(e, SPAN_LIT("BOSS@example.org"), span_str(hash6), &why), 0);
    assert_int_equal(accounts_edit_passwd(e, SPAN_LIT("nobody"), span_str(hash6), &why), ERR_NOT_FOUND);
    assert_int_equal(accounts_edit_passwd(e, SPAN_LIT("boss@example.org"), SPAN_LIT("secret"), &why),
                     ERR_BAD);
    /* Nothing is seen of it before the commit. */
    assert_string_equal(get(), "# the boss\nboss@example.org:!:person:acme:\n\n# end\n");
    assert_int_equal(accounts_edit_commit(e, &why), 0);
    accounts_edit_close(e);

    char want[2048];
    snprintf(
        want, sizeof want,
        "# the boss\nboss@example.org:%s:person:acme:\n\n# end\nanna@example.org:%s:person:example.org:\n"
        "news@example.org:%s:bulk:letters:senders=*\n",
        hash6, hash6, hash6);
    assert_string_equal(get(), want);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600); /* as it was */

    assert_int_equal(accounts_edit_open(path, &e, &why), 0);
    assert_int_equal(accounts_edit_remove(e, SPAN_LIT("anna@example.org")), 0);
    assert_int_equal(accounts_edit_remove(e, SPAN_LIT("anna@example.org")), ERR_NOT_FOUND);
    s = (struct account_spec){ .name = SPAN_LIT("news@example.org"),
                               .class = ACCOUNT_PERSON,
                               .disabled = true };
    assert_int_equal(accounts_edit_set(e, &s, &why), 0);
    s = spec("anna@example.org"); /* again, after its removal */
    assert_int_equal(accounts_edit_add(e, &s, &why), 0);
    assert_int_equal(accounts_edit_commit(e, &why), 0);
    accounts_edit_close(e);
    assert_int_equal(account_table_load(path, &t, NULL), 0);
    const struct account *a = account_table_find(t, SPAN_LIT("news@example.org"));
    assert_true(a->disabled);
    assert_string_equal(a->hash, hash6);
    assert_string_equal(a->tenant, "example.org");
    assert_int_equal(account_table_len(t), 3);
    account_table_rele(t);
    buf_fini(&why);
}

static void test_new_file(void **state)
{
    (void)state;
    struct accounts_edit *e;
    struct stat st;
    unlink(path);
    assert_int_equal(accounts_edit_open(path, &e, NULL), 0);
    struct account_spec s = spec("a");
    assert_int_equal(accounts_edit_add(e, &s, NULL), 0);
    assert_int_equal(accounts_edit_commit(e, NULL), 0);
    accounts_edit_close(e);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
}

/* A damaged file is not written over. */
static void test_edit_damaged(void **state)
{
    (void)state;
    struct accounts_edit *e;
    struct buf why;
    buf_init(&why, 4096);
    put("a:!\nb\n", 0600);
    assert_int_equal(accounts_edit_open(path, &e, &why), ERR_BAD);
    assert_null(e);
    assert_non_null(memmem(why.data, why.len, ":2: expected name:hash", 22));
    buf_fini(&why);
}

static void *add_fifty(void *arg)
{
    int base = *(int *)arg;
    for (int i = 0; i < 50; i++) {
        struct accounts_edit *e;
        char name[32];
        snprintf(name, sizeof name, "w%d-%d", base, i);
        struct account_spec s = spec(name);
        s.hash = SPAN_LIT("!");
        if (accounts_edit_open(path, &e, NULL) != 0 || accounts_edit_add(e, &s, NULL) != 0 ||
            accounts_edit_commit(e, NULL) != 0)
            abort();
        accounts_edit_close(e);
        usleep(1000);
    }
    return NULL;
}

static void test_writers(void **state)
{
    (void)state;
    put("", 0600);
    pthread_t threads[2];
    int base[2] = { 1, 2 };
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, add_fifty, &base[i]);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    struct account_table *t;
    assert_int_equal(account_table_load(path, &t, NULL), 0);
    assert_int_equal(account_table_len(t), 100);
    account_table_rele(t);
}

static void test_import(void **state)
{
    (void)state;
    struct accounts_edit *e;
    struct accounts_import_result r;
    struct buf why;
    char csv[4096];
    buf_init(&why, 65536);
    put("old@example.org:!:person:acme:\n", 0600);
    snprintf(csv, sizeof csv,
             "name,password,class,tenant,senders\r\n# a comment\n\nAnna@example.org,open sesame\n"
             "\"bob@example.org\",\"a \"\"b\"\", c\",device,acme,x@y.z example.com\r\n"
             "carl@example.org,{SHA512-CRYPT}%s,bulk,,*\ndora@example.org,!",
             hash6);
    assert_int_equal(accounts_edit_open(path, &e, &why), 0);
    assert_int_equal(accounts_edit_import(e, span_str(csv), 0, 2, &r, &why), 0);
    assert_int_equal(r.added, 4);
    assert_int_equal(r.updated, 0);
    assert_int_equal(r.hashed, 2);
    assert_int_equal(why.len, 0);

    static const struct {
        const char *csv, *want;
        unsigned flags;
    } wrong[] = {
        { "eve@example.org\n", "line 1: no password; \"!\" makes an account without one\n", 0 },
        { "x,y\na b,c\n", "line 2: the first field is no account name\n", 0 },
        { "x,y,vip\n", "line 1: the third field, the class, must be person, device or bulk\n", 0 },
        { "x,y,,,,z\n", "line 1: more than five fields; quote a password that has a comma\n", 0 },
        { "x,\"y\n", "line 1: a quote is not closed\n", 0 },
        { "x,\"y\"z\n", "line 1: text after a closing quote\n", 0 },
        { "x,{PLAIN}y\n", "line 1: a hash of a scheme that crypt(5) does not know\n", 0 },
        { "x,y\nX,z\n", "line 2: the account was in an earlier line already\n", ACCOUNTS_IMPORT_UPDATE },
        { "old@example.org,y\n", "line 1: the account exists already; use --update to replace it\n", 0 },
        { "x,y,,a:b\n", "line 1: the tenant (fourth field) or the senders (fifth) are malformed\n", 0 },
        { "x,y,,,a@@\n", "line 1: the tenant (fourth field) or the senders (fifth) are malformed\n", 0 },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        buf_reset(&why);
        assert_int_equal(accounts_edit_import(e, span_str(wrong[i].csv), wrong[i].flags, 1, &r, &why),
                         ERR_BAD);
        assert_int_equal(r.added, 0);
        buf_put_char(&why, '\0');
        assert_string_equal(why.data, wrong[i].want);
    }
    buf_reset(&why);
    assert_int_equal(accounts_edit_import(e, SPAN_LIT("old@example.org,new one,device\n"),
                                          ACCOUNTS_IMPORT_UPDATE, 1, &r, &why),
                     0);
    assert_int_equal(r.updated, 1);
    assert_int_equal(accounts_edit_commit(e, &why), 0);
    accounts_edit_close(e);

    struct account_table *t;
    assert_int_equal(account_table_load(path, &t, &why), 0);
    assert_int_equal(account_table_len(t), 5); /* nothing of the wrong ones */
    const struct account *a = account_table_find(t, SPAN_LIT("bob@example.org"));
    assert_true(account_hash_verify(a->hash, SPAN_LIT("a \"b\", c")));
    assert_string_equal(a->senders, "x@y.z,example.com");
    assert_string_equal(a->tenant, "acme");
    assert_int_equal(a->class, ACCOUNT_DEVICE);
    a = account_table_find(t, SPAN_LIT("carl@example.org"));
    assert_string_equal(a->hash, hash6);
    assert_string_equal(a->senders, "*");
    a = account_table_find(t, SPAN_LIT("old@example.org"));
    assert_true(account_hash_verify(a->hash, SPAN_LIT("new one")));
    assert_int_equal(a->class, ACCOUNT_DEVICE);
    account_table_rele(t);
    buf_fini(&why);
}

static void test_many(void **state)
{
    (void)state;
    struct buf b;
    struct account_table *t;
    buf_init(&b, 64u << 20);
    for (int i = 0; i < 100000; i++)
        buf_printf(&b, "user%d@domain%d.example:%s:person:tenant%d:\n", i, i % 5000, hash6, i % 100);
    int64_t start = clock_mono_ns();
    assert_int_equal(account_table_parse("f", buf_span(&b), &t, NULL), 0);
    print_message("100,000 accounts read in %d ms\n", (int)((clock_mono_ns() - start) / 1000000));
    assert_int_equal(account_table_len(t), 100000);
    assert_non_null(account_table_find(t, SPAN_LIT("user99999@domain4999.example")));
    account_table_rele(t);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),        cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_modes),        cmocka_unit_test(test_hashes),
        cmocka_unit_test(test_edit),         cmocka_unit_test(test_new_file),
        cmocka_unit_test(test_edit_damaged), cmocka_unit_test(test_writers),
        cmocka_unit_test(test_import),       cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
