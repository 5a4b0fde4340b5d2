/* libcurl's multi interface with epoll: see http.h. */
#include "node/content/http.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "base/log.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENTS 64
#define ROOM_KEPT 8192 /* bytes of each of a call's buffers */

struct http_call {
    struct list link; /* of those that are spare */
    CURL *curl;
    void *ctx;
    struct buf lines, body;
    struct curl_slist headers[HTTP_HEADERS_MAX]; /* their text is in `lines` */
    char url[HTTP_URL_ROOM];                     /* that the handle has */
    char error[CURL_ERROR_SIZE];
};

struct http {
    CURLM *multi;
    http_ended_fn *ended;
    size_t answer_max;
    struct list spare;
    uint32_t nspare;
    int epoll, wake;
    int64_t due_ms; /* clock_boot_ms: libcurl wants to be called */
};

/* ---- what libcurl waits for ---------------------------------------------------------------------------- */

/* A socket that cannot be waited for has its call run into its time-out. */
static int socket_cb(CURL *curl, curl_socket_t fd, int what, void *ctx, void *known)
{
    struct http *h = ctx;
    struct epoll_event ev = { .data.fd = fd };
    (void)curl;
    if (what == CURL_POLL_REMOVE) {
        (void)epoll_ctl(h->epoll, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    ev.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (epoll_ctl(h->epoll, known == NULL ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &ev) != 0)
        log_error("content", "cannot wait for a connection: %s", err_text(-errno));
    else if (known == NULL)
        curl_multi_assign(h->multi, fd, h);
    return 0;
}

static int timer_cb(CURLM *multi, long timeout_ms, void *ctx)
{
    struct http *h = ctx;
    (void)multi;
    h->due_ms = timeout_ms < 0 ? INT64_MAX : clock_boot_ms() + timeout_ms;
    return 0;
}

static void on_time(struct http *h)
{
    int running;
    if (clock_boot_ms() < h->due_ms)
        return;
    h->due_ms = INT64_MAX;
    curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
}

/* ---- calls --------------------------------------------------------------------------------------------- */

static size_t body_cb(char *p, size_t size, size_t n, void *ctx)
{
    struct http_call *call = ctx;
    return buf_put(&call->body, p, size * n) == 0 ? size * n : 0; /* too long: libcurl gives up */
}

static void call_free(struct http_call *call)
{
    curl_easy_cleanup(call->curl);
    buf_fini(&call->lines);
    buf_fini(&call->body);
    free(call);
}

/* What is the same for all requests. */
static bool set_always(struct http_call *call)
{
    CURL *curl = call->curl;
    CURLcode e = curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
#define SET(option, value) e = e != CURLE_OK ? e : curl_easy_setopt(curl, option, value)
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_TCP_NODELAY, 1L);
    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_USERAGENT, "turnpiked");
    SET(CURLOPT_WRITEFUNCTION, body_cb);
    SET(CURLOPT_WRITEDATA, call);
    SET(CURLOPT_PRIVATE, call);
    SET(CURLOPT_ERRORBUFFER, call->error);
    return e == CURLE_OK;
}

static struct http_call *call_new(struct http *h)
{
    struct http_call *call = calloc(1, sizeof *call);
    if (call == NULL)
        return NULL;
    buf_init(&call->lines, SIZE_MAX);
    buf_init(&call->body, h->answer_max);
    call->curl = curl_easy_init();
    if (call->curl != NULL && set_always(call))
        return call;
    call_free(call);
    return NULL;
}

static struct http_call *call_take(struct http *h)
{
    struct list *link = list_pop_front(&h->spare);
    h->nspare -= link != NULL;
    return link == NULL ? call_new(h) : LIST_ITEM(link, struct http_call, link);
}

static void call_give_back(struct http *h, struct http_call *call)
{
    if (h->nspare == HTTP_KEPT) {
        call_free(call);
        return;
    }
    buf_shrink(&call->lines, ROOM_KEPT);
    buf_shrink(&call->body, ROOM_KEPT);
    list_push_front(&h->spare, &call->link);
    h->nspare++;
}

/* The lines become the strings of a list that needs no memory of its own. */
static bool set_headers(struct http_call *call, struct span lines)
{
    size_t n = 0;
    buf_reset(&call->lines);
    (void)buf_put_str(&call->lines, "Expect:\nContent-Type: message/rfc822\n");
    (void)buf_put_span(&call->lines, lines);
    if (buf_err(&call->lines) != 0 || buf_put_char(&call->lines, '\n') != 0)
        return false;
    char *at = call->lines.data, *over = at + call->lines.len;
    for (char *end; n < HTTP_HEADERS_MAX && at < over && *at != '\n'; at = end + 1) {
        end = memchr(at, '\n', (size_t)(over - at));
        *end = '\0';
        call->headers[n++] = (struct curl_slist){ .data = at };
        if (n > 1)
            call->headers[n - 2].next = &call->headers[n - 1];
    }
    return curl_easy_setopt(call->curl, CURLOPT_HTTPHEADER, call->headers) == CURLE_OK;
}

static bool set_request(struct http_call *call, const struct http_request *r)
{
    CURL *curl = call->curl;
    CURLcode e = CURLE_OK;
    if (strcmp(call->url, r->url) != 0) {
        e = curl_easy_setopt(curl, CURLOPT_URL, r->url);
        snprintf(call->url, sizeof call->url, "%s", e == CURLE_OK ? r->url : "");
    }
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)r->timeout_ms);
    SET(CURLOPT_TIMEOUT_MS, (long)r->timeout_ms);
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->content.n);
    SET(CURLOPT_POSTFIELDS, r->content.p);
#undef SET
    return e == CURLE_OK;
}

struct http_call *http_begin(struct http *h, const struct http_request *request, void *ctx)
{
    struct http_call *call = call_take(h);
    if (call == NULL)
        return NULL;
    call->ctx = ctx;
    call->error[0] = '\0';
    buf_reset(&call->body);
    if (!set_headers(call, request->headers) || !set_request(call, request) ||
        curl_multi_add_handle(h->multi, call->curl) != CURLM_OK) {
        call_free(call);
        return NULL;
    }
    return call;
}

void http_cancel(struct http *h, struct http_call *call)
{
    curl_multi_remove_handle(h->multi, call->curl);
    call_give_back(h, call);
}

static void ended(struct http *h, struct http_call *call, CURLcode e)
{
    struct http_answer a = { .whole = e == CURLE_OK,
                             .unreachable = e == CURLE_COULDNT_CONNECT || e == CURLE_COULDNT_RESOLVE_HOST,
                             .body = buf_span(&call->body),
                             .why = call->error[0] != '\0' ? call->error : curl_easy_strerror(e) };
    curl_easy_getinfo(call->curl, CURLINFO_RESPONSE_CODE, &a.status);
    curl_multi_remove_handle(h->multi, call->curl);
    h->ended(call->ctx, &a);
    call_give_back(h, call);
}

static bool take_ended(struct http *h)
{
    int left;
    bool any = false;
    for (CURLMsg *msg; (msg = curl_multi_info_read(h->multi, &left)) != NULL;) {
        char *call = NULL;
        CURLcode e = msg->data.result;
        if (msg->msg == CURLMSG_DONE &&
            curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &call) == CURLE_OK)
            ended(h, (struct http_call *)(void *)call, e);
        any = true;
    }
    return any;
}

/* ---- the thread's turn --------------------------------------------------------------------------------- */

static void on_event(struct http *h, const struct epoll_event *ev)
{
    int running, what = 0;
    uint64_t times;
    if (ev->data.fd == h->wake) {
        (void)!read(h->wake, &times, sizeof times);
        return;
    }
    what |= (ev->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 ? CURL_CSELECT_IN : 0;
    what |= (ev->events & (EPOLLOUT | EPOLLERR)) != 0 ? CURL_CSELECT_OUT : 0;
    curl_multi_socket_action(h->multi, ev->data.fd, what, &running);
}

void http_run(struct http *h, int64_t wait_ms)
{
    struct epoll_event events[EVENTS];
    on_time(h); /* what has just begun */
    if (take_ended(h))
        return;
    int64_t left_ms = h->due_ms - clock_boot_ms();
    wait_ms = left_ms < wait_ms ? left_ms : wait_ms;
    int n = epoll_wait(h->epoll, events, EVENTS, wait_ms > 0 ? (int)wait_ms : 0);
    for (int i = 0; i < n; i++)
        on_event(h, &events[i]);
    on_time(h);
    take_ended(h);
}

void http_wake(struct http *h)
{
    static const uint64_t one = 1;
    (void)!write(h->wake, &one, sizeof one);
}

static int open_waiting(struct http *h)
{
    struct epoll_event ev = { .events = EPOLLIN };
    h->epoll = epoll_create1(EPOLL_CLOEXEC);
    h->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ev.data.fd = h->wake;
    if (h->epoll < 0 || h->wake < 0 || epoll_ctl(h->epoll, EPOLL_CTL_ADD, h->wake, &ev) != 0)
        return -errno;
    return 0;
}

int http_new(size_t answer_max, http_ended_fn *fn, struct http **out)
{
    struct http *h = calloc(1, sizeof *h);
    if (h == NULL)
        return -ENOMEM;
    *h = (struct http){ .ended = fn, .answer_max = answer_max, .epoll = -1, .wake = -1, .due_ms = INT64_MAX };
    list_init(&h->spare);
    h->multi = curl_multi_init();
    int err = h->multi == NULL ? -ENOMEM : open_waiting(h);
    if (err != 0) {
        http_free(h);
        return err;
    }
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, socket_cb);
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, timer_cb);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
    curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)HTTP_KEPT);
    *out = h;
    return 0;
}

void http_free(struct http *h)
{
    if (h == NULL)
        return;
    for (struct list *link; (link = list_pop_front(&h->spare)) != NULL;)
        call_free(LIST_ITEM(link, struct http_call, link));
    curl_multi_cleanup(h->multi);
    if (h->epoll >= 0)
        close(h->epoll);
    if (h->wake >= 0)
        close(h->wake);
    free(h);
}
