/* Tokens, requests and answers: written and read again, and what is said of those that were spoilt. */
#include "base/err.h"
#include "node/cluster/fields.h"
#include "node/cluster/join.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <ctype.h>
#include <stdio.h>

static void token(struct join_token *t)
{
    uint8_t sha256[32];
    for (size_t i = 0; i < sizeof sha256; i++)
        sha256[i] = (uint8_t)(200 + i);
    assert_int_equal(join_token_make(t, sha256), 0);
    t->naddresses = 2;
    strcpy(t->addresses[0], "192.0.2.1:7701");
    strcpy(t->addresses[1], "[2001:db8::1]:7701");
}

static void expect(const char *text, size_t n, const char *words)
{
    struct join_token t;
    struct buf why;
    buf_init(&why, 1024);
    assert_int_equal(join_token_parse(span_of(text, n), &t, &why), ERR_BAD);
    buf_put_char(&why, '\0');
    if (strstr(why.data, words) == NULL)
        fail_msg("\"%s\" has no \"%s\"", why.data, words);
    buf_fini(&why);
}

static void token_round_trip(void **state)
{
    (void)state;
    struct join_token t, u;
    char text[JOIN_TOKEN_MAX], spaced[2 * JOIN_TOKEN_MAX];
    token(&t);
    join_token_format(&t, text);
    assert_int_equal(join_token_parse(span_str(text), &u, NULL), 0);
    assert_memory_equal(&t, &u, sizeof t);
    /* as a terminal and a mail program may change it */
    size_t n = 0;
    spaced[n++] = '\n';
    for (size_t i = 0; text[i] != '\0'; i++) {
        spaced[n++] = (char)toupper(text[i]);
        if (i > 5 && i % 60 == 0) {
            spaced[n++] = '\r';
            spaced[n++] = '\n';
        }
    }
    assert_int_equal(join_token_parse(span_of(spaced, n), &u, NULL), 0);
    assert_memory_equal(&t, &u, sizeof t);
    /* the longest that can be */
    t.naddresses = 8;
    for (size_t i = 0; i < 8; i++) {
        memset(t.addresses[i], 'a', 122);
        strcpy(t.addresses[i] + 122, ":7701");
    }
    join_token_format(&t, text);
    assert_int_equal(join_token_parse(span_str(text), &u, NULL), 0);
    assert_memory_equal(&t, &u, sizeof t);
}

static void token_spoilt(void **state)
{
    (void)state;
    struct join_token t;
    char text[JOIN_TOKEN_MAX];
    token(&t);
    join_token_format(&t, text);
    size_t n = strlen(text);
    for (size_t i = 10; i < n; i++)
        expect(text, i, "cut off");
    for (size_t i = 12; i < n; i++) {
        char was = text[i];
        text[i] = was == 'q' ? 'r' : 'q';
        expect(text, n, "letter");
        text[i] = '0';
        expect(text, n, "character");
        text[i] = was;
    }
    char longer[JOIN_TOKEN_MAX + 16];
    snprintf(longer, sizeof longer, "%saaaaaaaa", text);
    expect(longer, strlen(longer), "too many");
    expect("", 0, "no token");
    expect("  \n", 3, "no token");
    expect("tpj2-abc", 8, "begins with tpj1-");
    expect("hello", 5, "begins with tpj1-");
    uint8_t a[32], b[32];
    join_secret_hash(t.secret, a);
    t.secret[0] ^= 1;
    join_secret_hash(t.secret, b);
    assert_memory_not_equal(a, b, 32);
}

static struct join_request request(void)
{
    struct join_request r = { .token_id = "0123456789abcdef",
                              .name = "mx1",
                              .raft_address = "192.0.2.1:7701",
                              .gossip_address = "[2001:db8::1]:7702",
                              .version = "0.1.0",
                              .features = 3,
                              .wall_ms = 1700000000000,
                              .certificate_request = SPAN_LIT("-----BEGIN\n-----END\n") };
    memset(r.secret, 0xa5, sizeof r.secret);
    return r;
}

static void request_round_trip(void **state)
{
    (void)state;
    struct join_request r = request();
    struct buf b;
    buf_init(&b, 65536);
    assert_int_equal(join_request_encode(&r, &b), 0);
    struct join_request_decoded *d;
    assert_int_equal(join_request_decode(buf_span(&b), &d, NULL), 0);
    const struct join_request *g = join_request_of(d);
    assert_string_equal(g->token_id, r.token_id);
    assert_memory_equal(g->secret, r.secret, sizeof r.secret);
    assert_string_equal(g->name, r.name);
    assert_string_equal(g->raft_address, r.raft_address);
    assert_string_equal(g->gossip_address, r.gossip_address);
    assert_string_equal(g->version, r.version);
    assert_int_equal(g->features, r.features);
    assert_int_equal(g->wall_ms, r.wall_ms);
    assert_true(span_eq(g->certificate_request, r.certificate_request));

    /* the same request later has the same hash; any other has another */
    uint8_t first[32], again[32];
    join_request_hash(&r, first);
    struct join_request later = *g;
    later.wall_ms += 5000;
    join_request_hash(&later, again);
    assert_memory_equal(first, again, 32);
    for (int i = 0; i < 8; i++) {
        struct join_request x = r;
        switch (i) {
        case 0:
            x.token_id[0] = 'f';
            break;
        case 1:
            x.secret[19] ^= 1;
            break;
        case 2:
            strcpy(x.name, "mx2");
            break;
        case 3:
            strcpy(x.raft_address, "192.0.2.2:7701");
            break;
        case 4:
            strcpy(x.gossip_address, "192.0.2.2:7702");
            break;
        case 5:
            strcpy(x.version, "0.1.1");
            break;
        case 6:
            x.features++;
            break;
        default:
            x.certificate_request.n--;
        }
        join_request_hash(&x, again);
        assert_memory_not_equal(first, again, 32);
    }
    join_request_free(d);
    buf_fini(&b);
}

static void request_refused(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 65536);
    struct join_request r = request();
    strcpy(r.name, "mx 1");
    assert_int_equal(join_request_encode(&r, &b), ERR_BAD);
    r = request();
    strcpy(r.raft_address, "192.0.2.1");
    assert_int_equal(join_request_encode(&r, &b), ERR_BAD);

    /* each field missing, or of another kind, is named */
    static const char *const fields[] = { "token",        "secret",         "name",
                                          "raft_address", "gossip_address", "program",
                                          "features",     "wall_ms",        "certificate_request" };
    r = request();
    for (size_t i = 0; i < 2 * sizeof fields / sizeof *fields; i++) {
        buf_reset(&b);
        assert_int_equal(join_request_encode(&r, &b), 0);
        json_t *o = json_loadb(b.data, b.len, 0, NULL);
        if (i % 2 == 0)
            json_object_del(o, fields[i / 2]);
        else
            json_object_set_new(o, fields[i / 2], json_string("a\nb"));
        if (i % 2 == 1 && i / 2 == 8) /* a request for a certificate has lines */
            json_object_set_new(o, fields[i / 2], json_integer(1));
        char *text = json_dumps(o, 0);
        struct join_request_decoded *d;
        struct buf why;
        buf_init(&why, 1024);
        assert_int_equal(join_request_decode(span_str(text), &d, &why), ERR_BAD);
        assert_null(d);
        buf_put_char(&why, '\0');
        assert_non_null(strstr(why.data, fields[i / 2]));
        buf_fini(&why);
        free(text);
        json_decref(o);
    }
    struct join_request_decoded *d;
    static const char *const bad[] = { "",
                                       "{",
                                       "[]",
                                       "null",
                                       "{\"version\":0}",
                                       "{\"version\":2}",
                                       "{\"version\":\"1\"}",
                                       "{\"version\":1,\"version\":1}" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(join_request_decode(span_str(bad[i]), &d, NULL), ERR_BAD);
    buf_fini(&b);
}

static void clock_off(void **state)
{
    (void)state;
    struct join_request r = request();
    char words[256] = "";
    assert_int_equal(join_request_check_clock(&r, r.wall_ms + 300000, words), 0);
    assert_int_equal(join_request_check_clock(&r, r.wall_ms - 300000, words), 0);
    assert_int_equal(join_request_check_clock(&r, r.wall_ms + 360000, words), ERR_DENIED);
    assert_non_null(strstr(words, "the clock of mx1 is 6m behind"));
    assert_int_equal(join_request_check_clock(&r, r.wall_ms - 7200000, words), ERR_DENIED);
    assert_non_null(strstr(words, "the clock of mx1 is 2h ahead"));
}

static void answer_round_trip(void **state)
{
    (void)state;
    struct join_answer a = { .ok = true,
                             .self = { .cluster = { 1, 2, 255 }, .epoch = 2, .node = 9 },
                             .slot = 200,
                             .certificate = SPAN_LIT("cert\n"),
                             .ca = SPAN_LIT("ca\n"),
                             .nseeds = 2,
                             .seeds = { { 1, "192.0.2.1:1", "192.0.2.1:2" },
                                        { 3, "a.example:1", "[::1]:2" } } };
    struct buf b;
    buf_init(&b, 65536);
    struct join_answer_decoded *d;
    for (int with_secret = 0; with_secret < 2; with_secret++) {
        memset(a.secret, with_secret ? 0xee : 0, sizeof a.secret);
        buf_reset(&b);
        assert_int_equal(join_answer_encode(&a, &b), 0);
        assert_true((memmem(b.data, b.len, "secret", 6) != NULL) == (with_secret == 1));
        assert_int_equal(join_answer_decode(buf_span(&b), &d, NULL), 0);
        const struct join_answer *g = join_answer_of(d);
        assert_true(g->ok);
        assert_memory_equal(&g->self, &a.self, sizeof a.self);
        assert_int_equal(g->slot, 200);
        assert_true(span_eq(g->certificate, a.certificate));
        assert_true(span_eq(g->ca, a.ca));
        assert_memory_equal(g->secret, a.secret, sizeof a.secret);
        assert_int_equal(g->nseeds, 2);
        assert_memory_equal(g->seeds, a.seeds, sizeof a.seeds);
        join_answer_free(d);
    }
    struct join_answer no = { .words = "the token has\nexpired\x1b[2J",
                              .try_address = "192.0.2.7:7701",
                              .retry = true };
    buf_reset(&b);
    assert_int_equal(join_answer_encode(&no, &b), 0);
    assert_int_equal(join_answer_decode(buf_span(&b), &d, NULL), 0);
    assert_false(join_answer_of(d)->ok);
    assert_true(join_answer_of(d)->retry);
    assert_string_equal(join_answer_of(d)->words, "the token has?expired?[2J");
    assert_string_equal(join_answer_of(d)->try_address, "192.0.2.7:7701");
    join_answer_free(d);

    a.nseeds = 17;
    assert_int_equal(join_answer_encode(&a, &b), ERR_BAD);
    a.nseeds = 2;
    a.self.node = 0;
    assert_int_equal(join_answer_encode(&a, &b), ERR_BAD);
    strcpy(no.try_address, "nowhere");
    assert_int_equal(join_answer_encode(&no, &b), ERR_BAD);
    static const char *const bad[] = {
        "",
        "{}",
        "{\"version\":1}",
        "{\"version\":1,\"ok\":true}",
        "{\"version\":1,\"ok\":false,\"words\":\"\",\"try\":\"x\",\"retry\":true}",
        "{\"version\":1,\"ok\":false,\"words\":\"\\u001b\",\"try\":\"\",\"retry\":true}",
        "{\"version\":9,\"ok\":false,\"words\":\"\",\"try\":\"\",\"retry\":true}"
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(join_answer_decode(span_str(bad[i]), &d, NULL), ERR_BAD);
    buf_fini(&b);
}

static void names_and_addresses(void **state)
{
    (void)state;
    static const char *const good[] = { "a:1", "192.0.2.1:65535", "[::1]:25", "[fe80::1%eth0]:1",
                                        "n1.example.com:7701" };
    static const char *const bad[] = { "",      "a",      ":1",    "a:",    "a:0",  "a:65536",
                                       "a:01x", "::1:25", "a b:1", "a\n:1", "[]:1", "a/b:1" };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(field_address_ok(span_str(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(field_address_ok(span_str(bad[i])));
    assert_true(field_name_ok(span_str("mx-1_a.example")));
    assert_false(field_name_ok(span_str("")));
    assert_false(field_name_ok(span_str("a/b")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(token_round_trip),    cmocka_unit_test(token_spoilt),
        cmocka_unit_test(request_round_trip),  cmocka_unit_test(request_refused),
        cmocka_unit_test(clock_off),           cmocka_unit_test(answer_round_trip),
        cmocka_unit_test(names_and_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
