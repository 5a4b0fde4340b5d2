/* Notifications as what goes over the wire: a webhook's body and its signature, a line of syslog, a mail.
 * Pure.
 */
#ifndef NODE_NOTIFY_BODY_H
#define NODE_NOTIFY_BODY_H

#include "node/notify/event.h"
#include "node/policy/notifications.h"

#define NOTIFY_BATCH_MAX 100               /* messages in one request, or one mail */
#define NOTIFY_BATCH_BYTES (256u << 10)    /* at which a request is full */
#define NOTIFY_SIGNATURE_TEXT (3 + 64 + 1) /* "v1=", hexadecimal, NUL */
#define NOTIFY_SYSLOG_MAX 8192             /* bytes of a line; more is cut */

/* One thing that is told: an event, how many of its like there were, and when the last was. */
struct notify_told {
    char id[NOTIFY_ID_MAX];
    struct span line; /* of its first event */
    uint32_t count;
    int64_t last_ms;
};

/* {"target":...,"node":...,"events":[{"id":...,"severity":...,"count":...,"last":...,"event":{...}}]} */
int notify_web_begin(struct buf *out, const char *target, const char *node);
int notify_web_put(struct buf *out, const struct notify_told *t, bool first);
int notify_web_end(struct buf *out);
/* HMAC-SHA256 over the time in decimal, a full stop and the body. ERR_FAILED. */
int notify_web_sign(struct span secret, int64_t now_s, struct span body, char out[NOTIFY_SIGNATURE_TEXT]);

/* RFC 5424, without what frames it. `host` is a name. */
int notify_syslog_put(struct buf *out, const struct notify_told *t, const char *host);

struct notify_mail {
    const char *from, *to, *message_id, *name; /* name: of the node's host */
    int64_t now_ms;
    const struct policy_target *target; /* its templates */
};
/* One message, or several in one mail; `more`: so many wait besides. */
int notify_mail_put(struct buf *out, const struct notify_mail *m, const struct notify_told *told, uint32_t n,
                    uint64_t more, uint32_t *header_bytes);

#endif
