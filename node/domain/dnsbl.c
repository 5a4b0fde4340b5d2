/* Lists of bad addresses in the DNS: see dnsbl.h. */
#include "node/domain/dnsbl.h"

#include <stdio.h>
#include <string.h>

bool dnsbl_address_name(const struct ip_addr *addr, const char *zone, char out[256])
{
    char name[80];
    struct span front = span_str(ip_reverse_name(addr, name));
    const char *arpa = strstr(name, addr->family == 4 ? ".in-addr" : ".ip6");
    if (arpa != NULL)
        front.n = (size_t)(arpa - name);
    int n = snprintf(out, 256, "%.*s.%s", (int)front.n, front.p, zone);
    return n > 0 && n < 254;
}

static bool is_error(const unsigned char a[4])
{
    return a[0] != 127 || (a[1] == 255 && a[2] == 255) || (a[1] == 0 && a[2] == 0 && a[3] == 1) ||
           (a[1] == 0 && a[2] == 1 && a[3] == 255);
}

enum dnsbl_answer dnsbl_read(const struct span *records, size_t n, unsigned char code[4], char why[128])
{
    enum dnsbl_answer answer = DNSBL_CLEAN;
    for (size_t i = 0; i < n; i++) {
        unsigned char a[4];
        if (records[i].n != 4)
            continue;
        memcpy(a, records[i].p, 4);
        if (is_error(a)) {
            snprintf(why, 128, "it answers %u.%u.%u.%u, which %s", a[0], a[1], a[2], a[3],
                     a[0] != 127   ? "is no list's answer"
                     : a[1] == 255 ? "says that it does not answer this resolver"
                                   : "lists nothing");
            return DNSBL_BROKEN;
        }
        if (answer == DNSBL_CLEAN)
            memcpy(code, a, 4);
        answer = DNSBL_LISTED;
    }
    return answer;
}
