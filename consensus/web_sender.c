/* Names of web senders: see web_sender.h. */
#include "consensus/web_sender.h"

#include <string.h>

#define PREFIX SPAN_LIT(WEB_SENDER_PREFIX)

bool web_sender_byte_ok(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c != '\0' && strchr("._:/@+=~-?", c) != NULL);
}

bool web_sender_ok(struct span name)
{
    struct span host = web_sender_host(name);
    if (host.n == 0 || host.n > WEB_SENDER_HOST_MAX)
        return false;
    struct span origin = span_sub(name, PREFIX.n + host.n + 1);
    for (size_t i = 0; i < origin.n; i++)
        if (!web_sender_byte_ok(origin.p[i]))
            return false;
    return origin.n > 0 && origin.n <= WEB_SENDER_ORIGIN_MAX;
}
