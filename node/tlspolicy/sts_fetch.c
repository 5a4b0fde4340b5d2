/* Fetching MTA-STS policies. On a thread that may block; one transfer at a time, nothing is shared. */
#include "node/tlspolicy/sts_fetch.h"

#include "base/err.h"
#include "node/tlspolicy/https.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Section 3.2: "text/plain", whatever its parameters. */
static bool is_text(const char *type)
{
    size_t n = type == NULL ? 0 : strcspn(type, "; \t");
    return n == strlen("text/plain") && strncasecmp(type, "text/plain", n) == 0;
}

static int judge(const struct https_transfer *t, CURLcode e, long status, struct sts_policy **out,
                 char why[200])
{
    const char *type = NULL, *bad = NULL;
    curl_easy_getinfo(t->curl, CURLINFO_CONTENT_TYPE, &type);
    if (e == CURLE_WRITE_ERROR || e == CURLE_FILESIZE_EXCEEDED) {
        snprintf(why, 200, "the policy is larger than %d octets", STS_BODY_MAX);
        return ERR_BAD;
    }
    if (e != CURLE_OK) {
        https_why(t, e, why);
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
    int err = sts_policy_parse(buf_span(&t->body), out, &bad);
    if (err != 0)
        snprintf(why, 200, "the policy is unusable: %s", bad);
    return err;
}

int sts_fetch(const struct sts_fetch *f, struct sts_policy **out, char why[200])
{
    char url[400], host[300];
    struct https_transfer t;
    long status;
    snprintf(host, sizeof host, STS_HOST "%.255s", f->domain);
    snprintf(url, sizeof url, "https://%s:%u/.well-known/mta-sts.txt", host, f->port);
    struct https h = { .url = url,
                       .host = host,
                       .port = f->port,
                       .addresses = f->addresses,
                       .body_max = STS_BODY_MAX,
                       .stop = f->stop };
    int err = https_init(&t, &h);
    if (err != 0) {
        snprintf(why, 200, "out of memory");
        return err;
    }
    CURLcode e = https_perform(&t, &status);
    err = judge(&t, e, status, out, why);
    https_fini(&t);
    return err;
}
