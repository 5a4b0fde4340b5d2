/* Source addresses of the fake node: constants. */
#include "fake_node.h"

#include "base/err.h"

#include <string.h>

int fake_ip_record(void *ctx, const char *address, const char *site, admin_ip_site_fn *fn, void *arg,
                   struct admin_error *e)
{
    (void)ctx;
    (void)e;
    struct admin_ip_site rows[] = {
        { .site = SPAN_LIT("fast.test"), .windows = { { .delivered = 5 }, { .delivered = 9 } } },
        { .site = SPAN_LIT("slow.test"),
          .windows = { { .delivered = 1, .deferred = 1 }, { .delivered = 1, .deferred = 2, .refused = 1 } },
          .reply = SPAN_LIT("550 5.7.1 \xff listed"),
          .reply_ms = 1700000000000 },
    };
    rows[1].windows[ADMIN_IP_DAY].meant[0][BOUNCE_RATE] = 2;
    rows[1].windows[ADMIN_IP_DAY].meant[1][BOUNCE_BLOCK] = 1;
    for (int i = 0; i < 2 && strcmp(address, "192.0.2.1") == 0; i++)
        if (site == NULL || span_eq(span_str(site), rows[i].site))
            fn(arg, &rows[i]);
    return 0;
}

int fake_site_shares(void *ctx, const char *site, admin_site_share_fn *fn, void *arg, struct admin_error *e)
{
    (void)ctx;
    (void)e;
    static const struct admin_site_source sources[] = { { .address = "192.0.2.1", .conns = 2 },
                                                        { .address = "192.0.2.2", .conns = 1 } };
    const struct admin_site_share rows[] = {
        { .site = SPAN_LIT("mx:a.test"), .conns = 1, .conns_max = 5, .domains = 2, .waiting = 7, .sources = sources,
          .nsources = 0 },
        { .site = SPAN_LIT("news/mx:a.test"), .pool = SPAN_LIT("news"), .conns = 3, .conns_max = 20, .conns_each = 10,
          .rate_count = 100, .rate_ms = 60000, .domains = 1, .waiting = 4, .active = 3, .held = 1, .sources = sources,
          .nsources = 2 },
    };
    for (int i = 0; i < 2 && (strcmp(site, "mx:a.test") == 0 || strcmp(site, "a.test") == 0); i++)
        fn(arg, &rows[i]);
    return 0;
}

int fake_site_holds(void *ctx, const char *site, uint32_t limit, admin_hold_fn *fn, void *arg, struct admin_error *e)
{
    (void)ctx;
    (void)limit;
    (void)e;
    const struct admin_site_hold rows[] = {
        { .site = SPAN_LIT("mx:b.test"), .action = SPAN_LIT("suspend"), .since_ms = 1, .until_ms = 2 },
        { .site = SPAN_LIT("news/mx:a.test"), .action = SPAN_LIT("disable_source"), .source = SPAN_LIT("192.0.2.2"),
          .rule = SPAN_LIT("source-blocked"), .reply = SPAN_LIT("550 \xff listed"), .since_ms = 1700000000000,
          .until_ms = 1700000060000 },
    };
    for (int i = 0; i < 2; i++)
        if (site == NULL || span_eq(span_str(site), rows[i].site))
            fn(arg, &rows[i]);
    return 0;
}

int fake_ip_check(void *ctx, const char *ip, admin_ip_fn *fn, void *arg, struct admin_error *e)
{
    (void)ctx;
    const struct admin_ip_row rows[] = {
        { .ip = SPAN_LIT("192.0.2.1"),
          .ehlo = SPAN_LIT("out1.example.com"),
          .ptr = SPAN_LIT("out1.example.com"),
          .addresses = SPAN_LIT("192.0.2.1"),
          .bound = true,
          .ptr_ok = true,
          .forward_ok = true,
          .nlists = 2,
          .lists = (struct admin_ip_list[]){ { "zen.example.net", "clean", "", 1 },
                                             { "odd.example.net", "broken", "it lists 127.0.0.1", 1 } } },
        { .ip = SPAN_LIT("192.0.2.2"),
          .ehlo = SPAN_LIT("out2.example.com"),
          .bound = true,
          .problem = SPAN_LIT("no PTR record: make one for 192.0.2.2 that says out2.example.com") },
    };
    uint32_t n = 0;
    for (int i = 0; i < 2; i++)
        if (ip == NULL || span_eq(span_str(ip), rows[i].ip)) {
            fn(arg, &rows[i]);
            n++;
        }
    return n > 0 ? 0 : admin_fail(e, ERR_NOT_FOUND, "%s is no source address of this node", ip);
}
