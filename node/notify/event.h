/* An event of which people are told: a line of the event log, or an alert of the cluster in the same form.
 * Pure.
 */
#ifndef NODE_NOTIFY_EVENT_H
#define NODE_NOTIFY_EVENT_H

#include "base/buf.h"
#include "base/span.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define NOTIFY_ID_MAX 96
#define NOTIFY_LINE_MAX 16384

struct notify_event {
    json_t *json;
    const char *event; /* of json, as what notify_event_str gives */
    int severity;      /* enum policy_severity */
};

/* One JSON object. ERR_BAD: it is none, or of no event that is known. */
int notify_event_parse(struct span line, struct notify_event *out);
void notify_event_fini(struct notify_event *e);
/* Of a text member; "" when there is none. */
const char *notify_event_str(const struct notify_event *e, const char *key);
/* The event's name in a line as the event log writes it, without reading all of it. Empty: there is none. */
struct span notify_line_event(struct span line);
/* What is the same of events that are told of together: kind, and whom or what it is about. */
uint64_t notify_event_key(const struct notify_event *e);
/* Mail of the node's own, or about it: nobody is sent a mail because of a mail. */
bool notify_event_about_mail_of_ours(const struct notify_event *e);

#endif
