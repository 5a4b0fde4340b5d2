/* HTTPS with strangers. On a thread that may block; one transfer at a time, nothing is shared. */
#include "node/tlspolicy/https.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t body_cb(char *p, size_t size, size_t n, void *ctx)
{
    struct buf *body = ctx;
    return buf_put(body, p, size * n) == 0 ? size * n : 0; /* too long: libcurl gives up */
}

static int progress_cb(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    return atomic_load((atomic_bool *)ctx);
}

/* The CAs that next hops are judged by, too. */
static CURLcode ssl_ctx_cb(CURL *curl, void *ctx, void *arg)
{
    (void)curl, (void)arg;
    return SSL_CTX_set_default_verify_paths(ctx) == 1 ? CURLE_OK : CURLE_SSL_CERTPROBLEM;
}

static bool set_options(struct https_transfer *t, const struct https *h)
{
    CURL *curl = t->curl;
    CURLcode e = curl_easy_setopt(curl, CURLOPT_URL, h->url);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L); /* RFC 8461 section 3.3 */
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_CAINFO, NULL);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_SSL_CTX_FUNCTION, ssl_ctx_cb);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_RESOLVE, t->resolve);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_PROXY, "");
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)HTTPS_TIMEOUT_MS / 2);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)HTTPS_TIMEOUT_MS);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_MAXFILESIZE, (long)h->body_max);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, body_cb);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_WRITEDATA, &t->body);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, progress_cb);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_XFERINFODATA, h->stop);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_USERAGENT, "turnpiked");
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, t->error);
    return e == CURLE_OK;
}

int https_init(struct https_transfer *t, const struct https *h)
{
    size_t room = strlen(h->host) + strlen(h->addresses) + 32;
    char *entry = malloc(room);
    *t = (struct https_transfer){ .curl = curl_easy_init() };
    buf_init(&t->body, h->body_max);
    if (entry != NULL) {
        snprintf(entry, room, "%s:%u:%s", h->host, h->port, h->addresses);
        t->resolve = curl_slist_append(NULL, entry);
    }
    free(entry);
    if (t->curl != NULL && t->resolve != NULL && set_options(t, h))
        return 0;
    https_fini(t);
    return -ENOMEM;
}

void https_fini(struct https_transfer *t)
{
    curl_easy_cleanup(t->curl);
    curl_slist_free_all(t->resolve);
    buf_fini(&t->body);
}

CURLcode https_perform(struct https_transfer *t, long *status)
{
    CURLcode e = curl_easy_perform(t->curl);
    *status = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, status);
    return e;
}

void https_why(const struct https_transfer *t, CURLcode e, char why[200])
{
    snprintf(why, 200, "%.190s", t->error[0] != '\0' ? t->error : curl_easy_strerror(e));
    for (char *c = why; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
            *c = '?';
    }
}
