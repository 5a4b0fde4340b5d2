/* Fetching MTA-STS policies. On a thread that may block; one transfer at a time, nothing is shared. */
#include "node/tlspolicy/sts_fetch.h"

#include "base/err.h"

#include <curl/curl.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

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

static bool set_options(CURL *curl, const struct sts_fetch *f, const char *url, struct curl_slist *resolve,
                        struct buf *body, char *error)
{
    CURLcode e = curl_easy_setopt(curl, CURLOPT_URL, url);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L); /* section 3.3 */
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_CAINFO, NULL);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_SSL_CTX_FUNCTION, ssl_ctx_cb);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_RESOLVE, resolve);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_PROXY, "");
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)STS_FETCH_TIMEOUT_MS / 2);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)STS_FETCH_TIMEOUT_MS);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_MAXFILESIZE, (long)STS_BODY_MAX);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, body_cb);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, progress_cb);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_XFERINFODATA, f->stop);
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_USERAGENT, "turnpiked");
    e = e != CURLE_OK ? e : curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
    return e == CURLE_OK;
}

/* Section 3.2: "text/plain", whatever its parameters. */
static bool is_text(const char *type)
{
    size_t n = type == NULL ? 0 : strcspn(type, "; \t");
    return n == strlen("text/plain") && strncasecmp(type, "text/plain", n) == 0;
}

static int judge(CURL *curl, CURLcode e, const char *error, const struct buf *body, struct sts_policy **out,
                 char why[200])
{
    long status = 0;
    const char *type = NULL, *bad = NULL;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
    if (e == CURLE_WRITE_ERROR || e == CURLE_FILESIZE_EXCEEDED) {
        snprintf(why, 200, "the policy is larger than %d octets", STS_BODY_MAX);
        return ERR_BAD;
    }
    if (e != CURLE_OK) {
        snprintf(why, 200, "%.190s", error[0] != '\0' ? error : curl_easy_strerror(e));
        return ERR_FAILED;
    }
    if (status != 200) {
        snprintf(why, 200, "HTTP status %ld", status);
        return ERR_FAILED;
    }
    if (!is_text(type)) {
        snprintf(why, 200, "the policy is not text/plain");
        return ERR_BAD;
    }
    int err = sts_policy_parse(buf_span(body), out, &bad);
    if (err != 0)
        snprintf(why, 200, "the policy is unusable: %s", bad);
    return err;
}

int sts_fetch(const struct sts_fetch *f, struct sts_policy **out, char why[200])
{
    char url[400], error[CURL_ERROR_SIZE] = "";
    size_t room = strlen(f->domain) + strlen(f->addresses) + 32;
    char *entry = malloc(room);
    struct curl_slist *resolve = NULL;
    struct buf body;
    buf_init(&body, STS_BODY_MAX);
    CURL *curl = curl_easy_init();
    int err = -ENOMEM;
    snprintf(why, 200, "out of memory");
    if (entry != NULL) {
        snprintf(entry, room, STS_HOST "%s:%u:%s", f->domain, f->port, f->addresses);
        resolve = curl_slist_append(NULL, entry);
    }
    snprintf(url, sizeof url, "https://" STS_HOST "%.255s:%u/.well-known/mta-sts.txt", f->domain, f->port);
    if (curl != NULL && resolve != NULL && set_options(curl, f, url, resolve, &body, error)) {
        CURLcode e = curl_easy_perform(curl);
        err = judge(curl, e, error, &body, out, why);
    }
    for (char *c = why; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
            *c = '?';
    }
    curl_easy_cleanup(curl);
    curl_slist_free_all(resolve);
    buf_fini(&body);
    free(entry);
    return err;
}
