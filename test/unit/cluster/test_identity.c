/* The node's membership on disk: saved and loaded again, whatever moment a save was cut off at, and with the
 * modes that it must have. */
#include "base/err.h"
#include "node/cluster/identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char base[64], dir[96];
static const char *const names[] = { "ca.pem", "node.pem", "node.key", "secret", "member.json" };

static void make(struct identity *id, uint64_t node, bool with_secret)
{
    identity_init(id);
    id->self = (struct peer){ .cluster = { 1, 2, 3 }, .epoch = 1, .node = node };
    id->slot = 5;
    snprintf(id->name, sizeof id->name, "mx%d", (int)node);
    strcpy(id->raft_address, "192.0.2.1:7701");
    strcpy(id->gossip_address, "192.0.2.1:7702");
    id->has_secret = with_secret;
    memset(id->secret, 0, sizeof id->secret);
    if (with_secret)
        memset(id->secret, 7, sizeof id->secret);
    id->nseeds = 1;
    id->seeds[0] = (struct identity_seed){ 9, "192.0.2.9:7701", "192.0.2.9:7702" };
    struct buf key, request;
    uint8_t secret[CA_SECRET_BYTES] = { 7 };
    buf_init(&key, 8192);
    buf_init(&request, 8192);
    assert_int_equal(ca_make(id->self.cluster, 1, secret, &id->ca, &key), 0);
    assert_int_equal(ca_make_request(id->name, &id->key, &request), 0);
    assert_int_equal(ca_issue(buf_span(&id->ca), buf_span(&key), secret, buf_span(&request), &id->self,
                              id->name, 0, &id->certificate),
                     0);
    buf_fini(&key);
    buf_fini(&request);
}

static void expect_same(const struct identity *a, const struct identity *b)
{
    assert_memory_equal(&a->self, &b->self, sizeof a->self);
    assert_int_equal(a->slot, b->slot);
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->raft_address, b->raft_address);
    assert_string_equal(a->gossip_address, b->gossip_address);
    assert_true(span_eq(buf_span(&a->ca), buf_span(&b->ca)));
    assert_true(span_eq(buf_span(&a->certificate), buf_span(&b->certificate)));
    assert_true(span_eq(buf_span(&a->key), buf_span(&b->key)));
    assert_int_equal(a->has_secret, b->has_secret);
    assert_memory_equal(a->secret, b->secret, sizeof a->secret);
    assert_int_equal(a->nseeds, b->nseeds);
    assert_memory_equal(a->seeds, b->seeds, sizeof a->seeds[0] * a->nseeds);
}

static const char *path(const char *name)
{
    static char p[160];
    snprintf(p, sizeof p, "%s/%s", dir, name);
    return p;
}

/* Loads and expects `err`, with `words` among those that are said. */
static void expect_load(int err, const char *words)
{
    struct identity id;
    identity_init(&id);
    struct buf why;
    buf_init(&why, 1024);
    int got = identity_load(dir, &id, &why);
    buf_put_char(&why, '\0');
    if (got != err || strstr(why.data, words) == NULL)
        fail_msg("%d, %s (not %d, %s)", got, why.data, err, words);
    buf_fini(&why);
    identity_fini(&id);
}

static void expect_loads_as(const struct identity *want)
{
    struct identity id;
    identity_init(&id);
    struct buf why;
    buf_init(&why, 1024);
    int err = identity_load(dir, &id, &why);
    buf_put_char(&why, '\0');
    if (err != 0)
        fail_msg("%s", why.data);
    expect_same(&id, want);
    buf_fini(&why);
    identity_fini(&id);
}

static void save(const struct identity *id)
{
    struct buf why;
    buf_init(&why, 1024);
    assert_int_equal(identity_save(dir, id, &why), 0);
    assert_int_equal(why.len, 0);
    buf_fini(&why);
}

static int setup(void **state)
{
    (void)state;
    strcpy(base, "/tmp/identity-XXXXXX");
    assert_non_null(mkdtemp(base));
    snprintf(dir, sizeof dir, "%s/cluster", base);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", base);
    return system(command);
}

static mode_t mode_of(const char *p)
{
    struct stat st;
    assert_int_equal(stat(p, &st), 0);
    return st.st_mode & 07777;
}

static void save_and_load(void **state)
{
    (void)state;
    expect_load(ERR_NOT_FOUND, "");
    struct identity id, next;
    make(&id, 3, true);
    mode_t old = umask(0);
    save(&id);
    umask(old);
    expect_loads_as(&id);
    assert_int_equal(mode_of(dir), 0700);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(mode_of(path(names[i])), 0600);
    /* a voter that becomes a standby keeps no secret */
    make(&next, 3, false);
    save(&next);
    expect_loads_as(&next);
    assert_int_equal(access(path("secret"), F_OK), -1);
    identity_fini(&id);
    identity_fini(&next);
    for (size_t i = 0; i < sizeof id.secret; i++)
        assert_int_equal(id.secret[i], 0);
}

static void copy(const char *from, const char *to)
{
    char command[512];
    snprintf(command, sizeof command, "cp -p '%s/%s' '%s/%s' 2>/dev/null", dir, from, dir, to);
    assert_int_equal(system(command), 0);
}

/* All states that a cut can leave are made by hand: the first k of the renames done. */
static void cut_off_saves(void **state)
{
    (void)state;
    struct identity old, next;
    make(&old, 3, true);
    make(&next, 3, false);
    for (size_t k = 0; k <= 5; k++) {
        save(&next);
        for (size_t i = 0; i < 5; i++) {
            char aside[64];
            snprintf(aside, sizeof aside, "keep-%s", names[i]);
            if (strcmp(names[i], "secret") != 0)
                copy(names[i], aside);
        }
        save(&old);
        for (size_t i = 0; i < 5; i++) {
            char aside[64], fresh[64];
            snprintf(aside, sizeof aside, "keep-%s", names[i]);
            snprintf(fresh, sizeof fresh, "%s.new", names[i]);
            if (strcmp(names[i], "secret") == 0) {
                if (i < k)
                    assert_int_equal(unlink(path("secret")), 0);
            } else {
                copy(aside, i < k ? names[i] : fresh);
            }
        }
        if (k == 0) { /* not yet: new files, but no mark */
            expect_loads_as(&old);
            assert_int_equal(access(path("node.key.new"), F_OK), 0);
        }
        FILE *f = fopen(path("replace"), "w");
        assert_non_null(f);
        fputs("secret", f);
        fclose(f);
        chmod(path("replace"), 0600);
        expect_loads_as(&next);
        assert_int_equal(access(path("replace"), F_OK), -1);
        assert_int_equal(access(path("node.key.new"), F_OK), -1);
    }
    identity_fini(&old);
    identity_fini(&next);
}

static void spoil(const char *name, const char *text)
{
    FILE *f = fopen(path(name), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void others_have_access(void **state)
{
    (void)state;
    struct identity id;
    make(&id, 3, true);
    save(&id);
    assert_int_equal(chmod(path("node.key"), 0640), 0);
    expect_load(ERR_DENIED, "node.key: others have access (mode 0640): chmod 600 it");
    assert_int_equal(chmod(path("node.key"), 0600), 0);
    assert_int_equal(chmod(path("secret"), 0604), 0);
    expect_load(ERR_DENIED, "secret: others have access (mode 0604): chmod 600 it");
    assert_int_equal(chmod(path("secret"), 0600), 0);
    assert_int_equal(chmod(dir, 0755), 0);
    expect_load(ERR_DENIED, "chmod 700 it");
    assert_int_equal(chmod(dir, 0700), 0);
    /* a certificate may be read by all, but not written */
    assert_int_equal(chmod(path("node.pem"), 0644), 0);
    expect_loads_as(&id);
    assert_int_equal(chmod(path("node.pem"), 0664), 0);
    expect_load(ERR_DENIED, "node.pem");
    assert_int_equal(chmod(path("node.pem"), 0600), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(path("node.key"), 12345, 12345), 0);
        expect_load(ERR_DENIED, "belongs to user 12345");
        assert_int_equal(chown(path("node.key"), 0, 0), 0);
    }
    char aside[96];
    snprintf(aside, sizeof aside, "%s/key", base);
    assert_int_equal(rename(path("node.key"), aside), 0);
    assert_int_equal(symlink(aside, path("node.key")), 0);
    expect_load(-ELOOP, "node.key");
    identity_fini(&id);
}

static void spoilt_files(void **state)
{
    (void)state;
    struct identity id, other;
    make(&id, 3, true);
    make(&other, 4, true);
    static const char *const members[] = {
        "", "{", "[]", "{\"version\":2}",
        "{\"version\":1,\"cluster\":\"01020300000000000000000000000000\",\"epoch\":0,\"node\":3,\"slot\":5,"
        "\"name\":\"mx3\","
        "\"raft_address\":\"a:1\",\"gossip_address\":\"a:1\",\"seeds\":[]}"
    };
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        save(&id);
        spoil("member.json", members[i]);
        expect_load(ERR_CORRUPT, "member.json");
    }
    for (size_t i = 0; i < 4; i++) {
        save(&id);
        spoil(names[i], "nonsense");
        expect_load(ERR_CORRUPT,
                    names[i] + (i == 0 ? 3 : 0)); /* a wrong ca.pem is told by what it did not sign */
    }
    for (size_t i = 0; i < 3; i++) {
        save(&id);
        assert_int_equal(unlink(path(names[i])), 0);
        expect_load(ERR_CORRUPT, "missing, though member.json is there");
    }
    /* another member's certificate, key, authority */
    char text[8192];
    struct {
        const char *file;
        const struct buf *content;
        const char *words;
    } swaps[] = { { "node.pem", &other.certificate, "is not of the member that member.json names" },
                  { "node.key", &other.key, "is not the key of node.pem" },
                  { "ca.pem", &other.ca, "was not signed by the authority" } };
    for (size_t i = 0; i < 3; i++) {
        save(&id);
        snprintf(text, sizeof text, "%.*s", (int)swaps[i].content->len, swaps[i].content->data);
        spoil(swaps[i].file, text);
        expect_load(ERR_CORRUPT, swaps[i].words);
    }
    /* what does not belong together is not written */
    save(&id);
    struct buf why;
    buf_init(&why, 1024);
    struct buf key = id.key;
    id.key = other.key;
    assert_int_equal(identity_save(dir, &id, &why), ERR_BAD);
    id.key = key;
    id.self.node = 0;
    assert_int_equal(identity_save(dir, &id, &why), ERR_BAD);
    id.self.node = 3;
    id.seeds[0].gossip_address[0] = '\0';
    assert_int_equal(identity_save(dir, &id, &why), ERR_BAD);
    strcpy(id.seeds[0].gossip_address, "192.0.2.9:7702");
    strcpy(id.raft_address, "192.0.2.1");
    assert_int_equal(identity_save(dir, &id, &why), ERR_BAD);
    strcpy(id.raft_address, "192.0.2.1:7701");
    buf_fini(&why);
    expect_loads_as(&id);
    identity_fini(&id);
    identity_fini(&other);
}

static void retire(void **state)
{
    (void)state;
    struct identity id;
    make(&id, 3, true);
    struct buf why;
    buf_init(&why, 1024);
    assert_int_equal(identity_retire(dir, &why), ERR_NOT_FOUND);
    for (int i = 1; i <= 3; i++) {
        save(&id);
        assert_int_equal(identity_retire(dir, &why), 0);
        expect_load(ERR_NOT_FOUND, "");
        char aside[256];
        snprintf(aside, sizeof aside, "%s.removed-%d/member.json", dir, i);
        assert_int_equal(access(aside, F_OK), 0);
    }
    buf_fini(&why);
    identity_fini(&id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(save_and_load, setup, teardown),
        cmocka_unit_test_setup_teardown(cut_off_saves, setup, teardown),
        cmocka_unit_test_setup_teardown(others_have_access, setup, teardown),
        cmocka_unit_test_setup_teardown(spoilt_files, setup, teardown),
        cmocka_unit_test_setup_teardown(retire, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
