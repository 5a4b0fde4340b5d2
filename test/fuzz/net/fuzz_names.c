/* Any bytes as an address, a network, a literal, a socket address, a domain name as text or in wire format,
 * and TXT data: what is accepted has a text that is accepted as the same.
 */
#include "base/buf.h"
#include "base/ensure.h"
#include "node/net/dns_impl.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_addresses(struct span s)
{
    struct ip_addr a;
    struct ip_addr b;
    char text[IP_TEXT_MAX];
    char literal[IP_LITERAL_TEXT_MAX];
    char sock[IP_SOCK_TEXT_MAX];
    char net_text[IP_TEXT_MAX + 4];
    uint16_t port;
    if (ip_addr_parse(s, &a) == 0) {
        ensure(ip_addr_parse(span_str(ip_addr_format(&a, text)), &b) == 0);
        ensure(ip_addr_eq(&a, &b));
        ip_class_name(ip_addr_class(&a));
        char reverse[80];
        ensure(strlen(ip_reverse_name(&a, reverse)) < sizeof reverse);
    }
    if (ip_literal_parse(s, &a) == 0) {
        ensure(ip_literal_parse(span_str(ip_literal_format(&a, literal)), &b) == 0);
        ensure(ip_addr_eq(&a, &b));
    }
    if (ip_sock_parse(s, 25, &a, &port) == 0) {
        uint16_t port_again;
        ensure(ip_sock_parse(span_str(ip_sock_format(&a, port, sock)), 1, &b, &port_again) == 0);
        ensure(ip_addr_eq(&a, &b));
        ensure(port == port_again);
    }
    struct ip_net net;
    struct ip_net again;
    if (ip_net_parse(s, &net) == 0) {
        ensure(ip_net_parse(span_str(ip_net_format(&net, net_text)), &again) == 0);
        ensure(ip_addr_eq(&net.addr, &again.addr));
        ensure(net.bits == again.bits);
        ensure(ip_net_has(&net, &net.addr));
    }
}

static void check_names(struct span s)
{
    char name[DNS_NAME_MAX];
    char again[DNS_NAME_MAX];
    if (dns_name_normalise(s, name) == 0) {
        ensure(strlen(name) <= 253);
        ensure(dns_name_normalise(span_str(name), again) == 0);
        ensure(strcmp(name, again) == 0);
    }
    if (dns_name_from_wire(s.p, s.n, name) == 0 && name[0] != '\0') {
        ensure(dns_name_normalise(span_str(name), again) == 0);
        ensure(strcmp(name, again) == 0);
    }
    struct buf txt;
    buf_init(&txt, 1 << 20);
    if (dns_txt_join(s, &txt) == 0)
        ensure(txt.len <= s.n);
    buf_fini(&txt);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size == 0 ? 1 : size);
    ensure(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    check_addresses(span_of(copy, size));
    check_names(span_of(copy, size));
    free(copy);
    return 0;
}
