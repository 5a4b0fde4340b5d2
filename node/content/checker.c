/* The thread that asks about content. See checker.h. */
#include "node/content/checker.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"
#include "node/content/http.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLL_MS 1000

_Static_assert(SERVER_NAME_ROOM + sizeof RSPAMD_PATH <= HTTP_URL_ROOM, "with the path");
_Static_assert(RSPAMD_RCPTS_MAX + 10 <= HTTP_HEADERS_MAX, "with what is said of the rest");
_Static_assert(POLICY_CONTENT_SERVERS_MAX <= 32, "a bit for each");

struct checker {
    struct http *http;
    pthread_t thread;
    pthread_mutex_t lock;
    struct list asked;                    /* under the lock: new ones */
    uint32_t waiting;                     /* under the lock: those, and in `queue` */
    bool stop, woken;                     /* under the lock */
    struct servers servers;
    /* the thread's own */
    struct list queue, active;
    uint32_t running; /* written under the lock */
    uint32_t turn;
};

void checker_server(struct checker *c, const char *url, struct server_told *out)
{
    servers_tell(&c->servers, url, out);
}

/* ---- one question -------------------------------------------------------------------------------------- */

static void finish(struct checker_job *job, enum checker_result result)
{
    job->result = result;
    job->done(job);
}

/* The next server in turn that does not rest and was not asked yet; -1: none. *left: so many there are. */
static int pick(struct checker *c, const struct checker_job *job, int64_t now_ms, uint32_t *left)
{
    const struct policy_names *servers = &job->conf->servers;
    int found = -1;
    *left = 0;
    c->turn++;
    for (uint32_t k = 0; k < servers->n; k++) {
        uint32_t i = (c->turn + k) % servers->n;
        if ((job->tried >> i & 1) != 0 || servers_rest(&c->servers, servers->items[i], now_ms))
            continue;
        found = found < 0 ? (int)i : found;
        ++*left;
    }
    return found;
}

static void set_running(struct checker *c, uint32_t n)
{
    pthread_mutex_lock(&c->lock);
    c->running = n;
    pthread_mutex_unlock(&c->lock);
}

static struct http_call *begin(struct checker *c, struct checker_job *job, int64_t timeout_ms)
{
    char url[SERVER_NAME_ROOM + sizeof RSPAMD_PATH];
    size_t n = strlen(job->url);
    n -= n > 0 && job->url[n - 1] == '/';
    snprintf(url, sizeof url, "%.*s" RSPAMD_PATH, (int)n, job->url);
    const struct http_request request = { .url = url,
                                          .headers = job->about,
                                          .content = job->content,
                                          .timeout_ms = timeout_ms > 0 ? timeout_ms : 1 };
    return http_begin(c->http, &request, job);
}

/* Asks a server, or answers that none is left. */
static void start(struct checker *c, struct checker_job *job)
{
    uint32_t left;
    int64_t now_ms = clock_boot_ms(), left_ms = job->until_ms - now_ms;
    int i = left_ms > 0 ? pick(c, job, now_ms, &left) : -1;
    if (i < 0) {
        if (job->why[0] == '\0')
            snprintf(job->why, sizeof job->why, "%s",
                     left_ms > 0 ? "no server has answered lately" : "its turn did not come in time");
        finish(job, CHECKER_NO_ANSWER);
        return;
    }
    job->url = job->conf->servers.items[i];
    job->tried |= 1u << i;
    if ((job->call = begin(c, job, left_ms / left)) == NULL) {
        snprintf(job->why, sizeof job->why, "no memory");
        finish(job, CHECKER_NO_ANSWER);
        return;
    }
    list_push_back(&c->active, &job->link);
    set_running(c, c->running + 1);
}

static void say_why(struct checker_job *job, const struct http_answer *a)
{
    if (!a->whole)
        snprintf(job->why, sizeof job->why, "%.190s", a->why);
    else if (a->status != 200)
        snprintf(job->why, sizeof job->why, "it answers %ld", a->status);
    else
        snprintf(job->why, sizeof job->why, "its answer is not rspamd's");
    for (char *p = job->why; *p != '\0'; p++)
        *p = *p < ' ' || *p > '~' ? '?' : *p;
}

static void ended_cb(void *ctx, const struct http_answer *a)
{
    struct checker_job *job = ctx;
    struct checker *c = job->checker;
    bool answered = a->whole && a->status == 200 && rspamd_answer_parse(a->body, &job->answer) == 0;
    job->call = NULL;
    list_remove(&job->link);
    set_running(c, c->running - 1);
    if (answered) {
        servers_answered(&c->servers, job->url);
        finish(job, CHECKER_ANSWERED);
        return;
    }
    say_why(job, a);
    servers_failed(&c->servers, job->url, a->unreachable, job->why);
    start(c, job); /* another one, if there is one and time is left */
}

/* ---- the thread ---------------------------------------------------------------------------------------- */

static bool take(struct checker *c)
{
    pthread_mutex_lock(&c->lock);
    list_splice(&c->queue, &c->asked);
    c->woken = false;
    bool stop = c->stop;
    pthread_mutex_unlock(&c->lock);
    return stop;
}

static struct checker_job *next(struct checker *c)
{
    struct list *link = list_pop_front(&c->queue);
    pthread_mutex_lock(&c->lock);
    c->waiting -= link != NULL;
    pthread_mutex_unlock(&c->lock);
    return link == NULL ? NULL : LIST_ITEM(link, struct checker_job, link);
}

/* Those whose turn it is, and those whose time is over. How long there is nothing else to do. */
static int begin_those_due(struct checker *c)
{
    for (struct list *link; (link = list_first(&c->queue)) != NULL;) {
        const struct checker_job *first = LIST_ITEM(link, struct checker_job, link);
        int64_t left_ms = first->until_ms - clock_boot_ms();
        if (c->running >= first->conf->checks && left_ms > 0)
            return left_ms < POLL_MS ? (int)left_ms : POLL_MS;
        start(c, next(c));
    }
    return POLL_MS;
}

static void answer_all(struct checker *c)
{
    for (struct list *link; (link = list_pop_front(&c->active)) != NULL;) {
        struct checker_job *job = LIST_ITEM(link, struct checker_job, link);
        http_cancel(c->http, job->call);
        snprintf(job->why, sizeof job->why, "the node stops");
        finish(job, CHECKER_NO_ANSWER);
    }
    for (struct checker_job *job; (job = next(c)) != NULL;) {
        snprintf(job->why, sizeof job->why, "the node stops");
        finish(job, CHECKER_NO_ANSWER);
    }
}

static void *checker_main(void *arg)
{
    struct checker *c = arg;
    while (!take(c))
        http_run(c->http, begin_those_due(c));
    answer_all(c);
    return NULL;
}

int checker_ask(struct checker *c, struct checker_job *job)
{
    job->checker = c;
    job->until_ms = clock_boot_ms() + job->conf->timeout_ms;
    job->tried = 0;
    job->why[0] = '\0';
    pthread_mutex_lock(&c->lock);
    int err = c->stop || c->waiting >= CHECKER_WAITING_MAX ? ERR_LIMIT : 0;
    bool wake = err == 0 && !c->woken;
    if (err == 0) {
        list_push_back(&c->asked, &job->link);
        c->waiting++;
        c->woken = true;
    }
    pthread_mutex_unlock(&c->lock);
    if (wake)
        http_wake(c->http);
    return err;
}

void checker_stats(struct checker *c, struct checker_stats *out)
{
    pthread_mutex_lock(&c->lock);
    *out = (struct checker_stats){ .running = c->running, .waiting = c->waiting };
    pthread_mutex_unlock(&c->lock);
}

int checker_start(struct checker **out)
{
    sigset_t all, was;
    struct checker *c = calloc(1, sizeof *c);
    int err = c == NULL ? -ENOMEM : http_new(RSPAMD_ANSWER_MAX, ended_cb, &c->http);
    if (err != 0) {
        free(c);
        return err;
    }
    pthread_mutex_init(&c->lock, NULL);
    servers_init(&c->servers);
    list_init(&c->asked);
    list_init(&c->queue);
    list_init(&c->active);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &was);
    err = pthread_create(&c->thread, NULL, checker_main, c);
    pthread_sigmask(SIG_SETMASK, &was, NULL);
    if (err != 0) {
        pthread_mutex_destroy(&c->lock);
        servers_fini(&c->servers);
        http_free(c->http);
        free(c);
        return -err;
    }
    *out = c;
    return 0;
}

void checker_stop(struct checker *c)
{
    if (c == NULL)
        return;
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_mutex_unlock(&c->lock);
    http_wake(c->http);
    pthread_join(c->thread, NULL);
    ensure(list_empty(&c->asked));
    pthread_mutex_destroy(&c->lock);
    servers_fini(&c->servers);
    http_free(c->http);
    free(c);
}
