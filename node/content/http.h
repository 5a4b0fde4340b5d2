/* HTTP requests by libcurl, many at a time: of one thread, which waits in http_run. Handles and connections
 * are kept for later requests: making them anew cost more than the requests did.
 */
#ifndef NODE_CONTENT_HTTP_H
#define NODE_CONTENT_HTTP_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

#define HTTP_KEPT 64         /* handles, and connections, that nobody uses just now */
#define HTTP_HEADERS_MAX 128 /* of a request; what follows is not sent */
#define HTTP_URL_ROOM 272

struct http;
struct http_call;

struct http_request {    /* a POST; borrowed until it has ended */
    const char *url;     /* shorter than HTTP_URL_ROOM; copied */
    struct span headers; /* "Name: value\n" lines; copied */
    struct span content; /* not empty */
    int64_t timeout_ms;
};

struct http_answer {  /* borrowed during the call */
    bool whole;       /* it came to its end, whatever its status */
    bool unreachable; /* nobody was there */
    long status;
    struct span body;
    const char *why; /* not whole: libcurl's words */
};
/* The call is the http's again. It may begin others. */
typedef void http_ended_fn(void *ctx, const struct http_answer *answer);

/* Answers are bounded by `answer_max` bytes: longer ones are not whole. 0 or -ENOMEM, or a system's error. */
int http_new(size_t answer_max, http_ended_fn *ended, struct http **out);
/* No call is under way. NULL is harmless. */
void http_free(struct http *h);

/* NULL: no memory. */
struct http_call *http_begin(struct http *h, const struct http_request *request, void *ctx);
/* `ended` is not called for it. */
void http_cancel(struct http *h, struct http_call *call);

/* Goes on with what is under way, waiting `wait_ms` at most for something to do; calls `ended`. */
void http_run(struct http *h, int64_t wait_ms);
/* http_run returns, now or when it is next called. Any thread. */
void http_wake(struct http *h);

#endif
