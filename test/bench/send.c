/* The load generator: hands out messages to sessions, counts what became of them, and ends the run. */
#include "test/bench/send.h"

#include "base/clock.h"
#include "base/err.h"

#include <openssl/err.h>
#include <stdlib.h>

enum send_take sender_take(struct sender *s, struct session *x)
{
    const struct send_opts *o = s->o;
    if (s->stopping || (o->messages != 0 && s->next >= o->messages)) {
        s->stopping = true;
        return SEND_TAKE_NONE;
    }
    int64_t now = clock_mono_ns();
    x->due_ns = now;
    if (o->rate > 0) {
        x->due_ns = s->start_ns + (int64_t)((double)s->next / o->rate * 1e9);
        if (x->due_ns > now) {
            list_push_back(&s->free, &x->link);
            return SEND_TAKE_LATER;
        }
    }
    x->message = s->next++;
    return SEND_TAKE_OK;
}

void sender_error(struct sender *s, const char *stage, struct span reply)
{
    char text[sizeof s->errors[0].text];
    int n = reply.n > 80 ? 80 : (int)reply.n;
    snprintf(text, sizeof text, "%s: %.*s", stage, n, reply.n == 0 ? "" : reply.p);
    for (unsigned i = 0; i < s->nerrors; i++)
        if (strcmp(s->errors[i].text, text) == 0) {
            s->errors[i].count++;
            return;
        }
    if (s->nerrors == SEND_ERRORS) {
        snprintf(s->errors[SEND_ERRORS - 1].text, sizeof text, "others");
        s->errors[SEND_ERRORS - 1].count++;
        return;
    }
    struct send_error *e = &s->errors[s->nerrors++];
    memcpy(e->text, text, sizeof text);
    e->count = 1;
}

void sender_accepted(struct sender *s, const struct session *x, unsigned rcpts)
{
    int64_t now = clock_mono_ns();
    if (s->accepted++ == 0)
        s->first_ns = now;
    s->last_ns = s->progress_ns = now;
    s->rcpts_accepted += rcpts;
    hist_add(&s->message, now - x->due_ns);
    hist_add(&s->dot, now - x->dot_ns);
    if (s->ack_log != NULL) {
        struct buf id;
        buf_init(&id, 256);
        message_put_id(&id, &s->pool, x->message);
        buf_put_char(&id, '\n');
        fwrite(id.data, 1, id.len, s->ack_log);
        buf_fini(&id);
    }
}

void sender_missed(struct sender *s, bool lost)
{
    if (lost)
        s->lost++;
    else
        s->refused++;
}

void sender_session_ended(struct sender *s)
{
    if (--s->live == 0)
        uv_close((uv_handle_t *)&s->tick, NULL);
}

/* Ends what is not in the middle of a message. */
static void stop(struct sender *s)
{
    s->stopping = true;
    for (unsigned i = 0; i < s->o->sessions; i++) {
        struct session *x = &s->sessions[i];
        if (x->ended)
            continue;
        if (x->step == SESSION_OFF && !x->conn.open) {
            x->ended = true;
            sender_session_ended(s);
        } else if (x->step == SESSION_READY) {
            list_remove(&x->link);
            session_quit(x);
        } else if (s->gave_up) {
            conn_close(&x->conn, ERR_TIMEOUT);
        }
    }
}

static void tick_cb(uv_timer_t *timer)
{
    struct sender *s = timer->data;
    int64_t now = clock_mono_ns();
    const struct send_opts *o = s->o;
    if (o->seconds != 0 && now - s->start_ns >= o->seconds * 1000000000)
        s->stopping = true;
    if (now - s->progress_ns > o->give_up_ms * 1000000)
        s->gave_up = true;
    if (s->stopping || s->gave_up) {
        stop(s);
        return;
    }
    for (struct list *link; (link = list_first(&s->free)) != NULL;) {
        struct session *x = LIST_ITEM(link, struct session, link);
        list_remove(link);
        enum send_take took = sender_take(s, x);
        if (took == SEND_TAKE_OK) {
            x->on_connection++;
            session_begin(x);
        } else if (took == SEND_TAKE_NONE) {
            session_quit(x);
        } else {
            break;
        }
    }
    for (unsigned i = 0; i < o->sessions; i++) {
        struct session *x = &s->sessions[i];
        if (x->step == SESSION_OFF && !x->conn.open && !x->ended && x->retry_ns <= now)
            session_connect(x);
    }
    if (s->ack_log != NULL)
        fflush(s->ack_log);
}

static SSL_CTX *make_tls(const struct send_opts *o)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL)
        return NULL;
    if (o->ca_file != NULL) {
        if (SSL_CTX_load_verify_locations(ctx, o->ca_file, NULL) != 1) {
            fprintf(stderr, "turnpike-bench: cannot use %s\n", o->ca_file);
            SSL_CTX_free(ctx);
            return NULL;
        }
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    }
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* each handshake is a full one */
    return ctx;
}

static int sender_init(struct sender *s, const struct send_opts *o)
{
    s->o = o;
    list_init(&s->free);
    int err = message_pool_init(&s->pool, o->size, o->incompressible);
    s->sessions = calloc(o->sessions, sizeof *s->sessions);
    if (err != 0 || s->sessions == NULL)
        return err != 0 ? err : -ENOMEM;
    if (o->tls != BENCH_TLS_NONE && (s->tls = make_tls(o)) == NULL)
        return ERR_FAILED;
    if (o->ack_log != NULL && (s->ack_log = fopen(o->ack_log, "a")) == NULL)
        return -errno;
    return uv_loop_init(&s->loop);
}

static void sender_fini(struct sender *s)
{
    for (unsigned i = 0; i < s->o->sessions; i++)
        session_fini(&s->sessions[i]);
    free(s->sessions);
    message_pool_fini(&s->pool);
    SSL_CTX_free(s->tls);
    if (s->ack_log != NULL)
        fclose(s->ack_log);
    uv_loop_close(&s->loop);
}

int send_main(int argc, char **argv)
{
    static struct send_opts o;
    static struct sender s;
    int rc = opts_send(argc, argv, &o);
    if (rc != 0)
        return rc;
    int err = sender_init(&s, &o);
    if (err != 0) {
        fprintf(stderr, "turnpike-bench: %s\n", err_text(err));
        return 2;
    }
    s.start_ns = s.progress_ns = clock_mono_ns();
    uv_timer_init(&s.loop, &s.tick);
    s.tick.data = &s;
    uint64_t period_ms = o.rate > 0 ? 1 : 20;
    uv_timer_start(&s.tick, tick_cb, period_ms, period_ms);
    s.live = o.sessions;
    for (unsigned i = 0; i < o.sessions; i++) {
        session_init(&s.sessions[i], &s, i);
        session_connect(&s.sessions[i]);
    }
    uv_run(&s.loop, UV_RUN_DEFAULT);
    report_print(&s);
    bool clean = !s.gave_up && s.refused == 0 && s.lost == 0 && s.accepted > 0;
    sender_fini(&s);
    return clean ? 0 : 1;
}
