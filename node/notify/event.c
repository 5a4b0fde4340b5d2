/* Events of which people are told: see event.h. */
#include "node/notify/event.h"

#include "base/err.h"
#include "node/policy/notifications.h"

#include <string.h>

int notify_event_parse(struct span line, struct notify_event *out)
{
    json_error_t why;
    *out = (struct notify_event){ .severity = -1 };
    out->json = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, &why);
    out->event = notify_event_str(out, "event");
    out->severity = policy_event_severity(span_str(out->event));
    if (json_is_object(out->json) && out->severity >= 0)
        return 0;
    notify_event_fini(out);
    return ERR_BAD;
}

void notify_event_fini(struct notify_event *e)
{
    json_decref(e->json);
    *e = (struct notify_event){ .severity = -1 };
}

const char *notify_event_str(const struct notify_event *e, const char *key)
{
    const char *text = json_string_value(json_object_get(e->json, key));
    return text != NULL ? text : "";
}

struct span notify_line_event(struct span line)
{
    static const char key[] = "\"event\":\"";
    const char *at = memmem(line.p, line.n < 100 ? line.n : 100, key, sizeof key - 1);
    if (at == NULL)
        return span_of("", 0);
    at += sizeof key - 1;
    const char *end = memchr(at, '"', (size_t)(line.p + line.n - at));
    return end == NULL ? span_of("", 0) : span_of(at, (size_t)(end - at));
}

/* FNV-1a: it is on disk, so that it must be the same in each process. */
static uint64_t mix(uint64_t h, const char *text)
{
    for (; *text != '\0'; text++)
        h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return (h ^ 0xff) * UINT64_C(0x100000001b3);
}

uint64_t notify_event_key(const struct notify_event *e)
{
    static const char *const about[] = { "account", "tenant", "site", "source_ip", "rule" };
    uint64_t h = mix(UINT64_C(0xcbf29ce484222325), e->event);
    for (size_t i = 0; i < sizeof about / sizeof about[0]; i++)
        h = mix(h, notify_event_str(e, about[i]));
    return h >> 1; /* SQLite's numbers have a sign */
}

bool notify_event_about_mail_of_ours(const struct notify_event *e)
{
    return strcmp(notify_event_str(e, "sender"), "<>") == 0;
}
