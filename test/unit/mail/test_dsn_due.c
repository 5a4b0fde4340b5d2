/* Which report is due: the whole matrix, written down. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "node/mail/dsn.h"

enum {
    S = ENVELOPE_NOTIFY_SUCCESS,
    F = ENVELOPE_NOTIFY_FAILURE,
    D = ENVELOPE_NOTIFY_DELAY,
    N = ENVELOPE_NOTIFY_NEVER
};

/* What happened, in columns: accepted by a hop with DSN, accepted by one without, delivered here, failed,
 * expired, delayed, deleted. '.': no report; L: relayed, V: delivered, F: failed, D: delayed. */
static const struct {
    enum mail_dsn_event event;
    bool next_hop_dsn;
} columns[] = {
    { MAIL_DSN_EVENT_ACCEPTED, true }, { MAIL_DSN_EVENT_ACCEPTED, false }, { MAIL_DSN_EVENT_FINAL, false },
    { MAIL_DSN_EVENT_FAILED, false },  { MAIL_DSN_EVENT_EXPIRED, false },  { MAIL_DSN_EVENT_DELAYED, false },
    { MAIL_DSN_EVENT_DELETED, false },
};

static const struct {
    uint8_t notify;
    const char *reports;
} rows[] = {
    { 0, "...FFD." },
    { N, "......." },
    { S, ".LV...." },
    { F, "...FF.." },
    { D, ".....D." },
    { S | F, ".LVFF.." },
    { S | D, ".LV..D." },
    { F | D, "...FFD." },
    { S | F | D, ".LVFFD." },
    /* not sayable in SMTP, but a stored byte may hold anything: NEVER wins */
    { N | S | F | D, "......." },
};

static void matrix(void **state)
{
    static const enum mail_dsn_action actions[128] = { ['L'] = MAIL_DSN_RELAYED,
                                                       ['V'] = MAIL_DSN_DELIVERED,
                                                       ['F'] = MAIL_DSN_FAILED,
                                                       ['D'] = MAIL_DSN_DELAYED };
    (void)state;
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        for (size_t k = 0; k < sizeof columns / sizeof columns[0]; k++) {
            for (unsigned bits = 0; bits < 64; bits++) {
                struct mail_dsn_case c = { .event = columns[k].event,
                                           .next_hop_dsn = columns[k].next_hop_dsn,
                                           .notify = rows[r].notify,
                                           .ret = bits & 3,
                                           .null_sender = (bits & 4) != 0,
                                           .is_report = (bits & 8) != 0,
                                           .default_full = (bits & 16) != 0 };
                if (c.ret > ENVELOPE_RET_HDRS)
                    continue;
                char want = rows[r].reports[k];
                struct mail_dsn_decision d = mail_dsn_due(&c);
                bool report = want != '.' && !c.null_sender && !c.is_report;
                assert_int_equal(d.report, report);
                if (report)
                    assert_int_equal(d.action, actions[(int)want]);
                bool asked_full =
                    c.ret == ENVELOPE_RET_FULL || (c.ret == ENVELOPE_RET_ABSENT && c.default_full);
                assert_int_equal(d.full, report && want == 'F' && asked_full);
            }
        }
    }
}

static void states(void **state)
{
    (void)state;
    struct mail_dsn_case c = { .event = MAIL_DSN_EVENT_ACCEPTED, .next_hop_dsn = true, .notify = S };
    assert_int_equal(mail_dsn_due(&c).state, RCPT_DELIVERED);
    c.next_hop_dsn = false;
    assert_int_equal(mail_dsn_due(&c).state, RCPT_RELAYED);
    c.notify = F;
    assert_int_equal(mail_dsn_due(&c).state, RCPT_RELAYED);
    c.notify = 0;
    assert_int_equal(mail_dsn_due(&c).state, RCPT_DELIVERED);
    c.event = MAIL_DSN_EVENT_FAILED;
    assert_int_equal(mail_dsn_due(&c).state, RCPT_BOUNCED);
    c.event = MAIL_DSN_EVENT_EXPIRED;
    assert_int_equal(mail_dsn_due(&c).state, RCPT_EXPIRED);
    c.event = MAIL_DSN_EVENT_DELAYED;
    assert_int_equal(mail_dsn_due(&c).state, RCPT_QUEUED);
    c.event = MAIL_DSN_EVENT_DELETED;
    assert_int_equal(mail_dsn_due(&c).state, RCPT_DELETED);
    c.event = MAIL_DSN_EVENT_FINAL;
    assert_int_equal(mail_dsn_due(&c).state, RCPT_DELIVERED);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(matrix), cmocka_unit_test(states) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
