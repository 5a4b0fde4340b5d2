/* TLS reports by HTTPS. On a thread that may block; one transfer at a time, nothing is shared. */
#include "node/tlspolicy/rpt_post.h"

#include "base/err.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX 65536

static bool is_name(const char *host)
{
    size_t n = strlen(host);
    bool letter = false;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)host[i];
        if (!isalnum(c) && c != '-' && c != '.' && c != '_')
            return false;
        letter = letter || isalpha(c);
    }
    return n > 0 && n <= 253 && letter && strchr(host, '.') != NULL && host[0] != '.' && host[n - 1] != '.';
}

static int take_parts(CURLU *u, struct rpt_url *out)
{
    char *host = NULL, *port = NULL, *user = NULL, *rest = NULL;
    int err = ERR_BAD;
    if (curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_NO_USER &&
        curl_url_get(u, CURLUPART_FRAGMENT, &rest, 0) == CURLUE_NO_FRAGMENT &&
        curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK && is_name(host)) {
        for (size_t i = 0; i <= strlen(host); i++)
            out->host[i] = (char)tolower((unsigned char)host[i]);
        out->port = (uint16_t)strtoul(port, NULL, 10);
        err = out->port == 0 ? ERR_BAD : 0;
    }
    curl_free(host);
    curl_free(port);
    curl_free(user);
    curl_free(rest);
    return err;
}

int rpt_url_parse(struct span text, struct rpt_url *out)
{
    *out = (struct rpt_url){ 0 };
    if (text.n >= sizeof out->text || !span_starts(text, SPAN_LIT("https://")) ||
        memchr(text.p, '\0', text.n) != NULL)
        return ERR_BAD;
    memcpy(out->text, text.p, text.n);
    CURLU *u = curl_url();
    if (u == NULL)
        return -ENOMEM;
    int err = curl_url_set(u, CURLUPART_URL, out->text, 0) == CURLUE_OK ? take_parts(u, out) : ERR_BAD;
    curl_url_cleanup(u);
    return err;
}

int rpt_post(const struct rpt_url *url, const char *addresses, atomic_bool *stop, struct span report,
             char why[200])
{
    struct https h = { .url = url->text,
                       .host = url->host,
                       .port = url->port,
                       .addresses = addresses,
                       .body_max = ANSWER_MAX,
                       .stop = stop };
    struct https_transfer t;
    long status = 0;
    snprintf(why, 200, "out of memory");
    int err = https_init(&t, &h);
    if (err != 0)
        return err;
    /* "Expect" would have us wait for an answer that some servers never give. */
    struct curl_slist *type = curl_slist_append(NULL, "Content-Type: application/tlsrpt+gzip");
    struct curl_slist *both = type == NULL ? NULL : curl_slist_append(type, "Expect:");
    if (both != NULL && curl_easy_setopt(t.curl, CURLOPT_HTTPHEADER, both) == CURLE_OK &&
        curl_easy_setopt(t.curl, CURLOPT_POSTFIELDSIZE, (long)report.n) == CURLE_OK &&
        curl_easy_setopt(t.curl, CURLOPT_POSTFIELDS, report.p) == CURLE_OK) {
        CURLcode e = https_perform(&t, &status);
        bool answered = e == CURLE_OK || e == CURLE_WRITE_ERROR || e == CURLE_FILESIZE_EXCEEDED;
        err = answered && status >= 200 && status < 300 ? 0 : ERR_FAILED;
        if (answered)
            snprintf(why, 200, "HTTP status %ld", status);
        else
            https_why(&t, e, why);
    } else {
        err = -ENOMEM;
    }
    curl_slist_free_all(type);
    https_fini(&t);
    return err;
}
