/* Requests to webhooks, several at a time, by libcurl. One thread, which waits in notify_web_wait. Where a
 * request may go is judged by the address that is connected to, whatever the name says:
 *
 *     global addresses: https. This machine's own: http, too. Private networks: where the target says so.
 *     Others (link-local, the clouds' metadata, multicast, reserved): never.
 *
 * A redirect is not followed: it is a failure like any other answer but 2xx.
 */
#ifndef NODE_NOTIFY_WEB_H
#define NODE_NOTIFY_WEB_H

#include "base/span.h"

#include <stdbool.h>
#include <stdint.h>

struct notify_web;

/* `slots`: so many requests at a time. NULL: no memory. */
struct notify_web *notify_web_new(uint32_t slots);
void notify_web_free(struct notify_web *w); /* what is under way is cut. NULL is harmless */

struct notify_post {
    const char *url;
    bool private_network, plain; /* plain: http */
    int64_t timeout_ms;
    struct span body; /* copied */
    const char *timestamp, *signature;
};
/* The slot has no request. 0 or -ENOMEM. */
int notify_web_post(struct notify_web *w, uint32_t slot, const struct notify_post *p);
bool notify_web_busy(const struct notify_web *w, uint32_t slot);
uint32_t notify_web_count(const struct notify_web *w); /* of requests under way */

/* `why`: one printable line without the URL's path; empty: all is well. From notify_web_wait. */
typedef void notify_web_fn(void *ctx, uint32_t slot, long status, const char *why);
void notify_web_wait(struct notify_web *w, int timeout_ms, notify_web_fn *fn, void *ctx);
/* Any thread: ends the wait. */
void notify_web_wake(struct notify_web *w);

/* Whether an address may be connected to. Pure. */
struct ip_addr;
bool notify_web_may(const struct ip_addr *a, bool plain, bool private_network);

#endif
