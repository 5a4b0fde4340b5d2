/* HTTPS with strangers, by libcurl: TLS 1.2 or later with a certificate that the system's CAs vouch for, no
 * other scheme, no redirects, no proxy, addresses that were looked up and judged before. Blocks: for threads
 * that may. */
#ifndef NODE_TLSPOLICY_HTTPS_H
#define NODE_TLSPOLICY_HTTPS_H

#include "base/buf.h"

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdint.h>

#define HTTPS_TIMEOUT_MS 30000
#define HTTPS_ADDRESSES_MAX 8                           /* of a host, that are tried */
#define HTTPS_ADDRESSES_TEXT (HTTPS_ADDRESSES_MAX * 52) /* IPv6 in brackets, and a comma */

struct https {
    const char *url, *host;
    uint16_t port;
    const char *addresses; /* of its host: "192.0.2.1,[2001:db8::1]"; no others are connected to */
    size_t body_max;       /* of the answer's: more is CURLE_WRITE_ERROR or CURLE_FILESIZE_EXCEEDED */
    atomic_bool *stop;     /* ends it within a second */
};

struct https_transfer {
    CURL *curl;
    struct curl_slist *resolve;
    struct buf body; /* of the answer */
    char error[CURL_ERROR_SIZE];
};

/* 0 or -ENOMEM. Further options may be set before https_perform. */
int https_init(struct https_transfer *t, const struct https *h);
void https_fini(struct https_transfer *t);
/* The answer's status is `status`. Not CURLE_OK: why is in `error`, or is curl_easy_strerror's. */
CURLcode https_perform(struct https_transfer *t, long *status);
/* As one line of printable ASCII. */
void https_why(const struct https_transfer *t, CURLcode e, char why[200]);

#endif
