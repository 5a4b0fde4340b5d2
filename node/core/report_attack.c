/* The event log's line about somebody who guesses passwords. The session's worker. */
#include "base/clock.h"
#include "node/auth/auth.h"
#include "node/core/report.h"
#include "node/core/session.h"
#include "node/core/worker.h"

#include <stdio.h>

#define ATTACKS_EVERY_MS 60000
#define ATTACKS_MAX 10 /* told in that time by a worker; more are told of as a number, with the next one */

/* Who is blocked from now on. */
void report_attack(struct session *s, const struct auth_request *r)
{
    static const struct {
        unsigned bit;
        const char *rule;
    } kinds[] = { { AUTH_GUARD_ACCOUNT, "account" },
                  { AUTH_GUARD_CLIENT, "network" },
                  { AUTH_GUARD_PAIR, "pair" } };
    struct worker *w = s->in->w;
    int64_t now_ms = clock_boot_ms();
    if (w->attacks.since_ms == 0 || now_ms - w->attacks.since_ms >= ATTACKS_EVERY_MS) {
        w->attacks.since_ms = now_ms;
        w->attacks.told = 0;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        char text[96] = "too many failed logins";
        struct event e = EVENT_INIT(EVENT_AUTH_ATTACK);
        if ((r->blocks & kinds[i].bit) == 0)
            continue;
        if (w->attacks.told >= ATTACKS_MAX) {
            w->attacks.left_out++;
            continue;
        }
        if (w->attacks.left_out > 0)
            snprintf(text, sizeof text, "too many failed logins; %u more were blocked meanwhile",
                     w->attacks.left_out);
        w->attacks.told++;
        w->attacks.left_out = 0;
        report_client(s, &e);
        e.account = span_str(kinds[i].bit != AUTH_GUARD_CLIENT ? r->account : "");
        e.rule = span_str(kinds[i].rule);
        e.text = span_str(text);
        e.stage = SPAN_LIT("auth");
        report_event(w, &e);
    }
}
