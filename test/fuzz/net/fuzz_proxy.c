/* Any bytes as a PROXY header: what is read is within them, a cut header wants more, and a version 1 header
 * written anew from what was read is read as the same.
 */
#include "base/ensure.h"
#include "base/err.h"
#include "node/net/proxy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_again(const struct proxy_header *h)
{
    char source[IP_TEXT_MAX];
    char destination[IP_TEXT_MAX];
    char line[256];
    ip_addr_format(&h->source, source);
    ip_addr_format(&h->destination, destination);
    if (h->source.family != h->destination.family)
        return; /* one of them was a mapped address: there is no such line */
    int n = snprintf(line, sizeof line, "PROXY TCP%u %s %s %u %u\r\n", h->source.family, source, destination,
                     h->source_port, h->destination_port);
    struct proxy_header again;
    ensure(proxy_parse(line, (size_t)n, &again) == n);
    ensure(ip_addr_eq(&again.source, &h->source));
    ensure(ip_addr_eq(&again.destination, &h->destination));
    ensure(again.source_port == h->source_port);
    ensure(again.destination_port == h->destination_port);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header h;
    int n = proxy_parse((const char *)data, size, &h);
    ensure(n == ERR_BAD || (n >= 0 && (size_t)n <= size));
    if (n == 0)
        ensure(size < PROXY_HEADER_MAX);
    if (n <= 0)
        return 0;
    ensure(n <= PROXY_HEADER_MAX);
    /* an exact copy of one byte less, so that a read past its end is seen */
    size_t cut = (size_t)n - 1;
    char *copy = malloc(cut == 0 ? 1 : cut);
    ensure(copy != NULL);
    memcpy(copy, data, cut);
    struct proxy_header part;
    ensure(proxy_parse(copy, cut, &part) == 0);
    free(copy);
    if (h.local)
        ensure(h.source.family == 0 && h.destination.family == 0);
    else
        check_again(&h);
    return 0;
}
