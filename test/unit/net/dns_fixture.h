/* What the tests of look-ups share: a name server with a zone of good and bad answers, a loop, and looks at
 * what came of a request. One of each at a time. */
#ifndef TEST_UNIT_NET_DNS_FIXTURE_H
#define TEST_UNIT_NET_DNS_FIXTURE_H

#include "node/net/dns.h"
#include "responder.h"

extern struct responder responder;
extern uv_loop_t loop;
extern struct timers timers;
extern struct dns *dns;

/* cmocka's, for a group: the name server runs. */
int dns_started(void **state);
int dns_stopped(void **state);

/* A loop and `dns` on it that asks the name server; we.example and 192.0.2.99 are our own. */
void open_dns(struct dns_config config);
void close_dns(void);
/* What is left to close when `dns` was closed already. */
void close_rest(void);
void turn(void);
/* For dns_close and timers_close: counts in an int. */
void gone(void *ctx);

/* Asks and waits; the caller has to release it. */
struct dns_site *site_of(const char *domain);
struct dns_site *host_of(const char *host, uint16_t port);

/* Targets as "host/address:port ..." */
void check_targets(struct dns_site *site, const char *want);
void check_site(const char *domain, const char *want);
void check_failed(const char *domain, enum dns_status status, const char *enhanced, const char *words);

#endif
