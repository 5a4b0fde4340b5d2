/* Requests to webhooks: see web.h. */
#include "node/notify/web.h"

#include "base/buf.h"
#include "base/ensure.h"
#include "node/net/ip.h"

#include <curl/curl.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_MAX (64 << 10) /* bytes of an answer, which is not looked at */

struct slot {
    CURL *curl; /* NULL: no request */
    struct curl_slist *headers;
    bool plain, private_network, refused;
    struct ip_addr refused_address;
    size_t answered;
    char error[CURL_ERROR_SIZE];
};

struct notify_web {
    CURLM *multi;
    uint32_t nslots, count;
    struct slot slots[];
};

bool notify_web_may(const struct ip_addr *a, bool plain, bool private_network)
{
    switch (ip_addr_class(a)) {
    case IP_CLASS_LOOPBACK:
        return true;
    case IP_CLASS_GLOBAL:
    case IP_CLASS_DOCUMENTATION:
        return !plain;
    case IP_CLASS_PRIVATE:
    case IP_CLASS_SHARED:
    case IP_CLASS_ULA:
        return !plain && private_network;
    default:
        return false;
    }
}

/* Every connection is made here: what the name was resolved to does not matter before. */
static curl_socket_t open_cb(void *ctx, curlsocktype purpose, struct curl_sockaddr *to)
{
    struct slot *s = ctx;
    struct ip_addr a;
    (void)purpose;
    if (ip_from_sockaddr(&to->addr, &a, NULL) != 0 || !notify_web_may(&a, s->plain, s->private_network)) {
        s->refused = true;
        s->refused_address = a;
        return CURL_SOCKET_BAD;
    }
    return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
}

static size_t answer_cb(char *p, size_t size, size_t n, void *ctx)
{
    struct slot *s = ctx;
    (void)p;
    s->answered += size * n;
    return s->answered <= ANSWER_MAX ? size * n : 0;
}

/* The CAs that next hops are judged by, too. */
static CURLcode ssl_ctx_cb(CURL *curl, void *ctx, void *arg)
{
    (void)curl, (void)arg;
    return SSL_CTX_set_default_verify_paths(ctx) == 1 ? CURLE_OK : CURLE_SSL_CERTPROBLEM;
}

static void slot_fini(struct slot *s)
{
    curl_easy_cleanup(s->curl);
    curl_slist_free_all(s->headers);
    *s = (struct slot){ .curl = NULL };
}

struct notify_web *notify_web_new(uint32_t slots)
{
    struct notify_web *w = calloc(1, sizeof *w + slots * sizeof w->slots[0]);
    if (w == NULL || (w->multi = curl_multi_init()) == NULL) {
        free(w);
        return NULL;
    }
    w->nslots = slots;
    return w;
}

void notify_web_free(struct notify_web *w)
{
    if (w == NULL)
        return;
    for (uint32_t i = 0; i < w->nslots; i++)
        if (w->slots[i].curl != NULL) {
            curl_multi_remove_handle(w->multi, w->slots[i].curl);
            slot_fini(&w->slots[i]);
        }
    curl_multi_cleanup(w->multi);
    free(w);
}

static bool add_header(struct slot *s, const char *name, const char *value)
{
    char line[300];
    snprintf(line, sizeof line, "%s: %s", name, value);
    struct curl_slist *more = curl_slist_append(s->headers, line);
    if (more != NULL)
        s->headers = more;
    return more != NULL;
}

static bool set_options(struct slot *s, const struct notify_post *p)
{
    CURL *c = s->curl;
    CURLcode e = curl_easy_setopt(c, CURLOPT_URL, p->url);
#define SET(option, value) e = e != CURLE_OK ? e : curl_easy_setopt(c, option, value)
    SET(CURLOPT_PROTOCOLS_STR, p->plain ? "http" : "https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_CAINFO, NULL);
    SET(CURLOPT_CAPATH, NULL);
    SET(CURLOPT_SSL_CTX_FUNCTION, ssl_ctx_cb);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_FORBID_REUSE, 1L);
    SET(CURLOPT_FRESH_CONNECT, 1L);
    SET(CURLOPT_TIMEOUT_MS, (long)p->timeout_ms);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_cb);
    SET(CURLOPT_OPENSOCKETDATA, s);
    SET(CURLOPT_WRITEFUNCTION, answer_cb);
    SET(CURLOPT_WRITEDATA, s);
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)p->body.n);
    SET(CURLOPT_COPYPOSTFIELDS, p->body.p);
    SET(CURLOPT_HTTPHEADER, s->headers);
    SET(CURLOPT_USERAGENT, "turnpiked");
    SET(CURLOPT_ERRORBUFFER, s->error);
#undef SET
    return e == CURLE_OK;
}

int notify_web_post(struct notify_web *w, uint32_t slot, const struct notify_post *p)
{
    ensure(slot < w->nslots);
    struct slot *s = &w->slots[slot];
    ensure(s->curl == NULL);
    *s = (struct slot){ .curl = curl_easy_init(), .plain = p->plain, .private_network = p->private_network };
    bool good = s->curl != NULL && add_header(s, "Content-Type", "application/json") &&
                add_header(s, "Expect", "") && add_header(s, "Turnpike-Timestamp", p->timestamp) &&
                add_header(s, "Turnpike-Signature", p->signature) && set_options(s, p) &&
                curl_multi_add_handle(w->multi, s->curl) == CURLM_OK;
    if (!good) {
        slot_fini(s);
        return -ENOMEM;
    }
    w->count++;
    return 0;
}

bool notify_web_busy(const struct notify_web *w, uint32_t slot)
{
    return w->slots[slot].curl != NULL;
}

uint32_t notify_web_count(const struct notify_web *w)
{
    return w->count;
}

static void why_of(const struct slot *s, CURLcode e, long status, char why[200])
{
    char ip[IP_TEXT_MAX];
    why[0] = '\0';
    if (s->refused && e != CURLE_OK)
        snprintf(why, 200, "%s is an address (%s) that this webhook may not go to",
                 ip_addr_format(&s->refused_address, ip), ip_class_name(ip_addr_class(&s->refused_address)));
    else if (e != CURLE_OK && status == 0)
        snprintf(why, 200, "%.190s", s->error[0] != '\0' ? s->error : curl_easy_strerror(e));
    else if (status >= 300 && status < 400)
        snprintf(why, 200, "it answers %ld: a redirect is not followed", status);
    else if (status < 200 || status > 299)
        snprintf(why, 200, "it answers %ld", status);
    for (char *c = why; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
            *c = '?';
}

/* One that has ended; false: none has. */
static bool take_ended(struct notify_web *w, notify_web_fn *fn, void *ctx)
{
    int left;
    CURLMsg *msg = curl_multi_info_read(w->multi, &left);
    if (msg == NULL)
        return false;
    uint32_t i = 0;
    while (i < w->nslots && w->slots[i].curl != msg->easy_handle)
        i++;
    if (msg->msg != CURLMSG_DONE || i == w->nslots)
        return true;
    long status = 0;
    char why[200];
    struct slot *s = &w->slots[i];
    curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &status);
    why_of(s, msg->data.result, status, why);
    curl_multi_remove_handle(w->multi, s->curl);
    slot_fini(s);
    w->count--;
    fn(ctx, i, status, why);
    return true;
}

void notify_web_wait(struct notify_web *w, int timeout_ms, notify_web_fn *fn, void *ctx)
{
    int running, ready;
    curl_multi_perform(w->multi, &running);
    while (take_ended(w, fn, ctx))
        timeout_ms = 0;
    curl_multi_poll(w->multi, NULL, 0, timeout_ms, &ready);
    curl_multi_perform(w->multi, &running);
    while (take_ended(w, fn, ctx))
        ;
}

void notify_web_wake(struct notify_web *w)
{
    curl_multi_wakeup(w->multi);
}
