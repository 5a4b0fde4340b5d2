/* Fuzzes the server machine with its shell's answers.
 *
 * Input: two bytes of configuration, one that sets the size of the pieces in which the client's octets
 * arrive, 13 that are the answers in turn, then the octets. The session is driven twice, in these pieces and
 * in one piece:
 * - both ways give the same messages, unless a client that sent ahead without leave made the difference;
 * - stored content is what a plain reader of the octets makes of them, and has no bare CR, bare LF or NUL;
 * - a step consumes no more than it was given; replies are well formed (harness.c);
 * - there are no more messages than ends of content in the stream.
 */
#include "test/unit/smtp_server/harness.h"

#include "base/ensure.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ANSWER_BYTES 13
#define HEAD_BYTES (3 + ANSWER_BYTES)

struct script {
    const uint8_t *answers;
    unsigned used;
};

static const struct smtp_reply refusals[] = {
    { 550, "5.7.1", "No" },
    { 451, "4.3.0", "Later\nin two lines" },
    { 421, "4.3.2", "Going" },
    { 250, "2.0.0", "Words of the shell" },
};

/* The answers in turn, four bits each: mostly yes. */
static const struct smtp_reply *next_answer(void *ctx, enum smtp_server_want want, uint64_t offset)
{
    struct script *s = ctx;
    (void)offset;
    unsigned at = s->used++ % (ANSWER_BYTES * 2);
    unsigned v = s->answers[at / 2] >> (at % 2 * 4) & 15;
    const struct smtp_reply *r = v < 4 ? &refusals[v] : NULL;
    if (r != NULL && want == SMTP_SERVER_WANT_BODY && r->code < 400)
        return NULL;
    return r;
}

static struct smtp_server_config configure(const uint8_t *data)
{
    return (struct smtp_server_config){
        .kind = data[0] % 3 == 0   ? SMTP_LISTENER_SUBMISSIONS
                : data[0] % 3 == 1 ? SMTP_LISTENER_SUBMISSION
                                   : SMTP_LISTENER_RELAY,
        .hostname = "mx.test",
        .max_message_bytes = (data[0] & 4) != 0 ? 200 : 0,
        .max_rcpts = (data[0] & 8) != 0 ? 2 : 0,
        .max_messages = (data[0] & 16) != 0 ? 2 : 0,
        .max_errors = (data[0] & 32) != 0 ? 3 : 20,
        .max_body_line_bytes = (data[0] & 64) != 0 ? 60 : 0,
        .max_header_lines = (data[0] & 128) != 0 ? 3 : 0,
        .offer_starttls = (data[1] & 1) != 0,
        .require_tls = (data[1] & 2) != 0 && (data[1] & 32) != 0,
        .offer_auth = (data[1] & 4) != 0,
        .require_auth = (data[1] & 8) != 0 && (data[1] & 32) != 0,
        .auth_without_tls = (data[1] & 16) != 0,
        .normalise_bare_lf = (data[1] & 64) != 0,
        .offer_smtputf8 = (data[1] & 128) != 0,
        .offer_requiretls = true,
        .allow_unqualified = (data[1] & 32) != 0,
    };
}

/* Strict ends of content in the stream: the dots, the BDATs that say LAST, in any case. */
static uint32_t ends_in(const char *p, size_t n)
{
    uint32_t ends = 0;
    for (size_t i = 0; i < n; i++) {
        ends += n - i >= 3 && memcmp(p + i, ".\r\n", 3) == 0;
        ends += n - i >= 4 && strncasecmp(p + i, "LAST", 4) == 0;
    }
    return ends;
}

/* The rules of content, octet by octet and nothing else: is `body` what a DATA that begins at p holds? */
static bool is_data(const char *p, size_t n, const struct buf *body)
{
    size_t i = 0, j = 0;
    for (bool line_start = true; i < n; i++, j++) {
        if (line_start && n - i >= 3 && memcmp(p + i, ".\r\n", 3) == 0)
            return j == body->len;
        if (line_start && p[i] == '.')
            i++;
        if (i == n || j == body->len || p[i] != body->data[j])
            return false;
        line_start = p[i] == '\n' && p[i - 1] == '\r';
    }
    return false;
}

/* A message must be the content of some DATA in the stream; one that came by BDAT is not looked up. */
static void check_in_stream(const struct buf *body, const char *p, size_t n)
{
    bool found = false;
    for (size_t i = 0; i + 4 <= n && !found; i++) {
        if (strncasecmp(p + i, "BDAT", 4) == 0)
            return;
        const char *lf = strncasecmp(p + i, "DATA", 4) == 0 ? memchr(p + i, '\n', n - i) : NULL;
        found = lf != NULL && is_data(lf + 1, n - (size_t)(lf + 1 - p), body);
    }
    ensure(found);
}

static void drive(struct harness *h, struct script *script, const struct smtp_server_config *config,
                  const char *p, size_t n, size_t piece)
{
    harness_init(h, config);
    script->used = 0;
    h->answer = next_answer;
    h->ctx = script;
    smtp_server_greet(h->s, NULL);
    for (size_t at = 0; at < n && !h->closed; at += piece)
        harness_feed(h, p + at, n - at < piece ? n - at : piece);
    harness_check_replies(h);
    ensure(h->commits <= ends_in(p, n));
    ensure(h->unread.len <= SMTP_SERVER_AUTH_LINE_MAX + 64);
    for (uint32_t i = 0; i < h->messages && !config->normalise_bare_lf; i++)
        check_in_stream(&h->kept[i].body, p, n);
}

static bool contains(const struct buf *b, const char *what)
{
    return b->len > 0 && memmem(b->data, b->len, what, strlen(what)) != NULL;
}

/* Being ahead of oneself is a matter of arrival, and the one thing that may differ. */
static bool depends_on_arrival(const struct harness *h)
{
    return contains(&h->reply, "554 5.5.0 ") || contains(&h->reply, "Content sent before") ||
           contains(&h->reply, "Ready to start TLS");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD_BYTES || size > 1u << 16)
        return 0;
    struct smtp_server_config config = configure(data);
    struct script script = { .answers = data + 3 };
    size_t piece = data[2] == 0 ? 1 : data[2], n = size - HEAD_BYTES;
    const char *p = (const char *)data + HEAD_BYTES;
    struct harness whole, pieces;
    drive(&whole, &script, &config, p, n, n == 0 ? 1 : n);
    drive(&pieces, &script, &config, p, n, piece);
    if (!depends_on_arrival(&whole) && !depends_on_arrival(&pieces)) {
        ensure(whole.closed == pieces.closed);
        ensure(whole.commits == pieces.commits);
        ensure(whole.aborts == pieces.aborts);
        ensure(span_eq(buf_span(&whole.reply), buf_span(&pieces.reply)));
        for (uint32_t i = 0; i < whole.messages; i++) {
            ensure(span_eq(buf_span(&whole.kept[i].from), buf_span(&pieces.kept[i].from)));
            ensure(span_eq(buf_span(&whole.kept[i].rcpts), buf_span(&pieces.kept[i].rcpts)));
            ensure(span_eq(buf_span(&whole.kept[i].body), buf_span(&pieces.kept[i].body)));
        }
    }
    harness_fini(&whole);
    harness_fini(&pieces);
    return 0;
}
