/* The thread that asks about content. See checker.h. */
#include "node/content/checker.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVERS_KNOWN 32 /* of this policy and of some before; the one that was longest unused makes room */
#define URL_ROOM 256
#define POLL_MS 1000

_Static_assert(CURL_ERROR_SIZE <= sizeof((struct checker_job *)0)->error, "libcurl's words fit");
_Static_assert(POLICY_CONTENT_SERVERS_MAX <= 32, "a bit for each");

struct server {
    char url[URL_ROOM]; /* "": free */
    uint32_t failures;  /* in a row */
    int64_t rest_ms;    /* until then */
    int64_t used_ms;
    struct checker_server told;
};

struct checker {
    CURLM *multi;
    pthread_t thread;
    pthread_mutex_t lock;
    struct list asked;                    /* under the lock: new ones */
    uint32_t waiting;                     /* under the lock: those, and in `queue` */
    bool stop;                            /* under the lock */
    struct server servers[SERVERS_KNOWN]; /* written by the thread, under the lock */
    /* the thread's own */
    struct list queue, active;
    uint32_t running; /* written under the lock */
    uint32_t turn;
};

/* ---- servers ------------------------------------------------------------------------------------------- */

static struct server *known(struct checker *c, const char *url)
{
    for (uint32_t i = 0; i < SERVERS_KNOWN; i++)
        if (strcmp(c->servers[i].url, url) == 0)
            return &c->servers[i];
    return NULL;
}

static struct server *server_of(struct checker *c, const char *url, int64_t now_ms)
{
    struct server *s = known(c, url);
    if (s == NULL) {
        s = &c->servers[0];
        for (uint32_t i = 1; i < SERVERS_KNOWN; i++)
            s = c->servers[i].used_ms < s->used_ms ? &c->servers[i] : s;
        pthread_mutex_lock(&c->lock);
        *s = (struct server){ .used_ms = now_ms };
        snprintf(s->url, sizeof s->url, "%s", url);
        pthread_mutex_unlock(&c->lock);
    }
    s->used_ms = now_ms;
    return s;
}

static void server_answered(struct checker *c, const char *url)
{
    struct server *s = known(c, url);
    if (s == NULL || (s->failures == 0 && !s->told.down))
        return;
    if (s->told.down)
        log_info("content", "%s answers again", url);
    pthread_mutex_lock(&c->lock);
    s->failures = 0;
    s->rest_ms = 0;
    s->told = (struct checker_server){ .down = false };
    pthread_mutex_unlock(&c->lock);
}

static void server_failed(struct checker *c, const char *url, bool unreachable, const char *why)
{
    struct server *s = known(c, url);
    if (s == NULL)
        return;
    bool was = s->told.down;
    pthread_mutex_lock(&c->lock);
    s->failures++;
    if (unreachable || s->failures >= CHECKER_FAILURES || was) {
        s->rest_ms = clock_boot_ms() + CHECKER_REST_MS;
        s->told.since_ms = was ? s->told.since_ms : clock_wall_ms();
        s->told.down = true;
        snprintf(s->told.why, sizeof s->told.why, "%s", why);
    }
    pthread_mutex_unlock(&c->lock);
    if (!was && s->told.down)
        log_warn("content", "%s does not answer: %s", url, why);
}

void checker_server(struct checker *c, const char *url, struct checker_server *out)
{
    pthread_mutex_lock(&c->lock);
    const struct server *s = known(c, url);
    *out = s == NULL ? (struct checker_server){ .down = false } : s->told;
    pthread_mutex_unlock(&c->lock);
}

/* ---- one question -------------------------------------------------------------------------------------- */

static size_t body_cb(char *p, size_t size, size_t n, void *ctx)
{
    struct checker_job *job = ctx;
    return buf_put(&job->body, p, size * n) == 0 ? size * n : 0; /* too long: libcurl gives up */
}

static bool add_header(struct curl_slist **list, const char *line)
{
    struct curl_slist *more = curl_slist_append(*list, line);
    *list = more != NULL ? more : *list;
    return more != NULL;
}

static bool make_headers(struct checker_job *job)
{
    struct curl_slist *list = NULL;
    struct span rest = job->about;
    bool ok = add_header(&list, "Expect:") && add_header(&list, "Content-Type: message/rfc822");
    while (ok && rest.n > 0) {
        char line[RSPAMD_VALUE_MAX + 32];
        const char *end = memchr(rest.p, '\n', rest.n);
        size_t n = end == NULL ? rest.n : (size_t)(end - rest.p);
        snprintf(line, sizeof line, "%.*s", (int)n, rest.p);
        ok = add_header(&list, line);
        rest = span_sub(rest, end == NULL ? n : n + 1);
    }
    job->headers = list;
    return ok;
}

static bool set_options(struct checker_job *job, int64_t timeout_ms)
{
    char url[URL_ROOM + sizeof RSPAMD_PATH];
    size_t n = strlen(job->url);
    n -= n > 0 && job->url[n - 1] == '/';
    snprintf(url, sizeof url, "%.*s" RSPAMD_PATH, (int)n, job->url);
    CURL *curl = job->curl;
    CURLcode e = curl_easy_setopt(curl, CURLOPT_URL, url);
#define SET(option, value) e = e != CURLE_OK ? e : curl_easy_setopt(curl, option, value)
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_TCP_NODELAY, 1L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)timeout_ms);
    SET(CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)job->content.n);
    SET(CURLOPT_POSTFIELDS, job->content.p);
    SET(CURLOPT_HTTPHEADER, job->headers);
    SET(CURLOPT_WRITEFUNCTION, body_cb);
    SET(CURLOPT_WRITEDATA, job);
    SET(CURLOPT_PRIVATE, job);
    SET(CURLOPT_USERAGENT, "turnpiked");
    SET(CURLOPT_ERRORBUFFER, job->error);
#undef SET
    return e == CURLE_OK;
}

static void transfer_fini(struct checker_job *job)
{
    curl_easy_cleanup(job->curl);
    curl_slist_free_all(job->headers);
    job->curl = job->headers = NULL;
    buf_fini(&job->body);
}

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
        if ((job->tried >> i & 1) != 0 || server_of(c, servers->items[i], now_ms)->rest_ms > now_ms)
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
    job->error[0] = '\0';
    buf_init(&job->body, RSPAMD_ANSWER_MAX);
    job->curl = curl_easy_init();
    int64_t timeout_ms = left_ms / left > 0 ? left_ms / left : 1;
    if (job->curl == NULL || !make_headers(job) || !set_options(job, timeout_ms) ||
        curl_multi_add_handle(c->multi, job->curl) != CURLM_OK) {
        transfer_fini(job);
        snprintf(job->why, sizeof job->why, "no memory");
        finish(job, CHECKER_NO_ANSWER);
        return;
    }
    list_push_back(&c->active, &job->link);
    set_running(c, c->running + 1);
}

static void say_why(struct checker_job *job, CURLcode e, long status)
{
    if (e != CURLE_OK)
        snprintf(job->why, sizeof job->why, "%.190s",
                 job->error[0] != '\0' ? job->error : curl_easy_strerror(e));
    else if (status != 200)
        snprintf(job->why, sizeof job->why, "it answers %ld", status);
    else
        snprintf(job->why, sizeof job->why, "its answer is not rspamd's");
    for (char *p = job->why; *p != '\0'; p++)
        *p = *p < ' ' || *p > '~' ? '?' : *p;
}

static void ended(struct checker *c, struct checker_job *job, CURLcode e)
{
    long status = 0;
    curl_easy_getinfo(job->curl, CURLINFO_RESPONSE_CODE, &status);
    bool answered =
        e == CURLE_OK && status == 200 && rspamd_answer_parse(buf_span(&job->body), &job->answer) == 0;
    if (!answered)
        say_why(job, e, status);
    curl_multi_remove_handle(c->multi, job->curl);
    list_remove(&job->link);
    set_running(c, c->running - 1);
    transfer_fini(job);
    if (answered) {
        server_answered(c, job->url);
        finish(job, CHECKER_ANSWERED);
        return;
    }
    server_failed(c, job->url, e == CURLE_COULDNT_CONNECT || e == CURLE_COULDNT_RESOLVE_HOST, job->why);
    start(c, job); /* another one, if there is one and time is left */
}

/* ---- the thread ---------------------------------------------------------------------------------------- */

static bool take(struct checker *c)
{
    pthread_mutex_lock(&c->lock);
    list_splice(&c->queue, &c->asked);
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

static void take_ended(struct checker *c)
{
    int left;
    for (CURLMsg *msg; (msg = curl_multi_info_read(c->multi, &left)) != NULL;) {
        char *job = NULL;
        CURLcode e = msg->data.result;
        if (msg->msg == CURLMSG_DONE &&
            curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &job) == CURLE_OK)
            ended(c, (struct checker_job *)(void *)job, e);
    }
}

static void answer_all(struct checker *c)
{
    for (struct list *link; (link = list_pop_front(&c->active)) != NULL;) {
        struct checker_job *job = LIST_ITEM(link, struct checker_job, link);
        curl_multi_remove_handle(c->multi, job->curl);
        transfer_fini(job);
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
    int running, ready;
    while (!take(c)) {
        curl_multi_poll(c->multi, NULL, 0, begin_those_due(c), &ready);
        curl_multi_perform(c->multi, &running);
        take_ended(c);
    }
    answer_all(c);
    return NULL;
}

int checker_ask(struct checker *c, struct checker_job *job)
{
    job->until_ms = clock_boot_ms() + job->conf->timeout_ms;
    job->tried = 0;
    job->why[0] = '\0';
    pthread_mutex_lock(&c->lock);
    int err = c->stop || c->waiting >= CHECKER_WAITING_MAX ? ERR_LIMIT : 0;
    if (err == 0) {
        list_push_back(&c->asked, &job->link);
        c->waiting++;
    }
    pthread_mutex_unlock(&c->lock);
    if (err == 0)
        curl_multi_wakeup(c->multi);
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
    if (c == NULL || (c->multi = curl_multi_init()) == NULL) {
        free(c);
        return -ENOMEM;
    }
    pthread_mutex_init(&c->lock, NULL);
    list_init(&c->asked);
    list_init(&c->queue);
    list_init(&c->active);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &was);
    int err = pthread_create(&c->thread, NULL, checker_main, c);
    pthread_sigmask(SIG_SETMASK, &was, NULL);
    if (err != 0) {
        pthread_mutex_destroy(&c->lock);
        curl_multi_cleanup(c->multi);
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
    curl_multi_wakeup(c->multi);
    pthread_join(c->thread, NULL);
    ensure(list_empty(&c->asked));
    pthread_mutex_destroy(&c->lock);
    curl_multi_cleanup(c->multi);
    free(c);
}
