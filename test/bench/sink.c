/* The sink: listens, counts, records, and says how much it took. */
#include "test/bench/sink.h"
#include "test/bench/send.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdlib.h>

static void close_any(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle) && handle->type != UV_TCP && handle->type != UV_TIMER)
        uv_close(handle, NULL);
}

static void print_summary(const struct sink *s)
{
    double took = (double)(s->last_ns - s->first_ns) / 1e9;
    printf("{\"messages\":%" PRIu64 ",\"recipients\":%" PRIu64 ",\"bytes\":%" PRIu64
           ",\"connections\":%" PRIu64 ",\"most_connections\":%u,\"refused\":%" PRIu64
           ",\"seconds\":%.3f,\"messages_per_s\":%.1f}\n",
           s->messages, s->rcpts, s->bytes, s->connections, s->most_open, s->refused, took,
           took > 0 ? (double)(s->messages - 1) / took : 0);
    fflush(stdout);
}

static void signal_cb(uv_signal_t *handle, int number)
{
    (void)number;
    uv_stop(handle->loop);
}

static void second_cb(uv_timer_t *timer)
{
    struct sink *s = timer->data;
    if (s->o->count_to_stdout) {
        printf("messages %" PRIu64 "\n", s->messages);
        fflush(stdout);
    }
    if (s->o->exit_after != 0 && s->messages >= s->o->exit_after)
        uv_stop(&s->loop);
}

void sink_session_ended(struct sink *s, struct sink_session *x)
{
    s->open--;
    list_push_back(&s->idle, &x->link);
}

/* ---- records ------------------------------------------------------------------------------------------- */

static struct span message_id(struct span content)
{
    static const struct span name = SPAN_LIT("\nmessage-id:");
    for (size_t i = 0; i + name.n < content.n; i++) {
        if (content.p[i] == '\n' && i + 2 < content.n && content.p[i + 1] == '\r')
            break; /* the header's end */
        if (strncasecmp(content.p + i, name.p, name.n) != 0)
            continue;
        size_t from = i + name.n;
        while (from < content.n && content.p[from] == ' ')
            from++;
        size_t to = from;
        while (to < content.n && content.p[to] != '\r' && content.p[to] != '\n')
            to++;
        return span_of(content.p + from, to - from);
    }
    return (struct span){ "", 0 };
}

/* Writes the content without the dots that were stuffed (those of BDAT were not). */
static bool write_message(const struct sink *s, const struct sink_session *x)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%08" PRIu64 ".eml", s->o->record_dir, s->messages);
    FILE *f = fopen(path, "w");
    if (f == NULL)
        return false;
    const char *p = x->content.data;
    size_t n = x->content.len;
    bool chunked = x->chunk_last;
    if (!chunked && n >= 3)
        n -= 3; /* the dot's line */
    while (n > 0) {
        const char *nl = memchr(p, '\n', n);
        size_t line = nl == NULL ? n : (size_t)(nl - p) + 1;
        size_t skip = !chunked && p[0] == '.' ? 1 : 0;
        fwrite(p + skip, 1, line - skip, f);
        p += line;
        n -= line;
    }
    return fclose(f) == 0;
}

static bool write_log(struct sink *s, struct sink_session *x)
{
    struct buf line;
    buf_init(&line, 2u << 20);
    buf_printf(&line, "{\"n\":%" PRIu64 ",\"wall_ms\":%" PRId64 ",\"tls\":%s,", s->messages, clock_wall_ms(),
               x->secured ? "true" : "false");
    buf_put_span(&line, buf_span(&x->envelope));
    buf_printf(&line, "],\"bytes\":%" PRIu64 ",\"message_id\":", x->size);
    text_put_json(&line, message_id(buf_span(&x->content)));
    buf_put_str(&line, "}\n");
    bool good =
        buf_err(&line) == 0 && fwrite(line.data, 1, line.len, s->log) == line.len && fflush(s->log) == 0;
    buf_fini(&line);
    return good;
}

bool sink_take(struct sink *s, struct sink_session *x)
{
    s->last_ns = clock_mono_ns();
    if (s->messages++ == 0)
        s->first_ns = s->last_ns;
    s->rcpts += x->nrcpts;
    s->bytes += x->size;
    bool good = (s->o->record_dir == NULL || write_message(s, x)) && (s->log == NULL || write_log(s, x));
    x->chunk_last = false;
    return good;
}

/* ---- start --------------------------------------------------------------------------------------------- */

static void connection_cb(uv_stream_t *listener, int status)
{
    if (status == 0)
        sink_session_accept(listener->data);
}

static int listen_on(struct sink *s)
{
    uv_tcp_init(&s->loop, &s->listener);
    s->listener.data = s;
    int err = uv_tcp_bind(&s->listener, (const struct sockaddr *)&s->o->listen, 0);
    if (err == 0)
        err = uv_listen((uv_stream_t *)&s->listener, 4096, connection_cb);
    if (err != 0)
        return err;
    struct sockaddr_storage at;
    int len = sizeof at;
    uv_tcp_getsockname(&s->listener, (struct sockaddr *)&at, &len);
    char name[64] = "";
    uv_ip_name((struct sockaddr *)&at, name, sizeof name);
    printf("listening %s %u\n", name,
           ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port
                                          : ((struct sockaddr_in *)&at)->sin_port));
    fflush(stdout);
    return 0;
}

static int sink_init(struct sink *s, struct sink_opts *o)
{
    s->o = o;
    list_init(&s->idle);
    for (unsigned i = 0; i < o->nrules; i++)
        s->has_rules[o->rules[i].stage] = true;
    if (o->cert != NULL) {
        s->tls = SSL_CTX_new(TLS_server_method());
        if (s->tls == NULL || SSL_CTX_use_certificate_chain_file(s->tls, o->cert) != 1 ||
            SSL_CTX_use_PrivateKey_file(s->tls, o->key, SSL_FILETYPE_PEM) != 1) {
            fprintf(stderr, "turnpike-bench: cannot use %s and %s\n", o->cert, o->key);
            return ERR_FAILED;
        }
    }
    char path[4096];
    snprintf(path, sizeof path, "%s/log.jsonl", o->record_dir == NULL ? "" : o->record_dir);
    const char *log = o->log_file != NULL ? o->log_file : o->record_dir != NULL ? path : NULL;
    if (log != NULL && (s->log = fopen(log, "a")) == NULL)
        return -errno;
    s->keep_bytes = o->record_dir != NULL ? 256u << 20 : log != NULL ? 64u << 10 : 0;
    int err = uv_loop_init(&s->loop);
    if (err != 0)
        return err;
    uv_timer_init(&s->loop, &s->second);
    s->second.data = s;
    uint64_t period_ms = o->exit_after != 0 ? 20 : 1000;
    uv_timer_start(&s->second, second_cb, period_ms, period_ms);
    uv_signal_init(&s->loop, &s->term);
    uv_signal_init(&s->loop, &s->intr);
    uv_signal_start(&s->term, signal_cb, SIGTERM);
    uv_signal_start(&s->intr, signal_cb, SIGINT);
    return listen_on(s);
}

static void close_session(uv_handle_t *handle, void *arg)
{
    struct sink *s = arg;
    if (handle == (uv_handle_t *)&s->listener || handle == (uv_handle_t *)&s->second)
        uv_close(handle, NULL);
    else if (handle->type == UV_TCP)
        conn_close(handle->data, 0);
}

int sink_main(int argc, char **argv)
{
    static struct sink_opts o;
    static struct sink s;
    int rc = opts_sink(argc, argv, &o);
    if (rc != 0)
        return rc;
    int err = sink_init(&s, &o);
    if (err != 0) {
        fprintf(stderr, "turnpike-bench: %s\n", err_text(err));
        return 2;
    }
    uv_run(&s.loop, UV_RUN_DEFAULT);
    print_summary(&s);
    uv_walk(&s.loop, close_session, &s);
    uv_walk(&s.loop, close_any, NULL);
    uv_run(&s.loop, UV_RUN_DEFAULT);
    for (struct list *link; (link = list_pop_front(&s.idle)) != NULL;)
        sink_session_delete(LIST_ITEM(link, struct sink_session, link));
    uv_loop_close(&s.loop);
    SSL_CTX_free(s.tls);
    if (s.log != NULL)
        fclose(s.log);
    return 0;
}
