/* Makes messages of a given size. */
#include "test/bench/message.h"

#include "base/err.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define LINE 78         /* with CRLF */
#define SPARE_LINES 512 /* how far apart slices may start */
#define SMALLEST 512

static void fill_random(char *line)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char raw[LINE - 2];
    if (getrandom(raw, sizeof raw, 0) != (ssize_t)sizeof raw)
        abort();
    for (size_t i = 0; i < sizeof raw; i++)
        line[i] = set[raw[i] & 63];
}

static void fill_words(char *line, size_t number)
{
    static const char *const words[] = { "invoice",  "meeting", "attached", "please", "the",     "of",
                                         "delivery", "next",    "week",     "thank",  "you",     "quarter",
                                         "report",   "project", "numbers",  "and",    "forward", "regards" };
    size_t at = 0;
    for (size_t k = number; at < LINE - 2; k = k * 31 + 7) {
        const char *word = words[k % (sizeof words / sizeof words[0])];
        for (const char *c = word; *c != '\0' && at < LINE - 2; c++)
            line[at++] = *c;
        if (at < LINE - 2)
            line[at++] = ' ';
    }
}

int message_pool_init(struct message_pool *m, size_t bytes, bool incompressible)
{
    *m = (struct message_pool){ .bytes = bytes, .spare = SPARE_LINES };
    if (bytes < SMALLEST)
        return ERR_BAD;
    m->nlines = bytes / LINE + 2 + SPARE_LINES;
    m->lines = malloc(m->nlines * LINE);
    if (m->lines == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < m->nlines; i++) {
        char *line = m->lines + i * LINE;
        if (incompressible)
            fill_random(line);
        else
            fill_words(line, i);
        line[LINE - 2] = '\r';
        line[LINE - 1] = '\n';
    }
    uint64_t name;
    if (getrandom(&name, sizeof name, 0) != (ssize_t)sizeof name)
        abort();
    snprintf(m->run, sizeof m->run, "%016" PRIx64, name);
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(m->date, sizeof m->date, "%a, %d %b %Y %H:%M:%S +0000", &tm);
    return 0;
}

void message_pool_fini(struct message_pool *m)
{
    free(m->lines);
    m->lines = NULL;
}

int message_put_id(struct buf *out, const struct message_pool *m, uint64_t n)
{
    return buf_printf(out, "<%" PRIu64 ".%s@bench.test>", n, m->run);
}

int message_put(struct buf *out, const struct message_pool *m, uint64_t n, struct span from, struct span to)
{
    size_t start = out->len;
    buf_put_str(out, "From: <");
    buf_put_span(out, from);
    buf_put_str(out, ">\r\nTo: <");
    buf_put_span(out, to);
    buf_put_str(out, ">\r\nSubject: bench\r\nDate: ");
    buf_put_str(out, m->date);
    buf_put_str(out, "\r\nMessage-ID: ");
    message_put_id(out, m, n);
    buf_put_str(out, "\r\n\r\n");
    size_t header = out->len - start;
    if (buf_err(out) == 0 && header + 2 < m->bytes) {
        size_t body = m->bytes - header - 2;
        buf_put(out, m->lines + (n * 7 % m->spare) * LINE, body);
        /* the slice may end within a CRLF: leave no half of it */
        if (out->data[out->len - 1] == '\r' || out->data[out->len - 1] == '\n')
            out->data[out->len - 1] = 'x';
        if (out->data[out->len - 2] == '\r')
            out->data[out->len - 2] = 'x';
        buf_put_str(out, "\r\n");
    }
    return buf_put_str(out, ".\r\n");
}
