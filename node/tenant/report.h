/* What a tenant is told about its mail: how much, what was deferred and refused, who was stopped and is, and
 * what was done. Gathered from the replicated state alone, so that every node tells the same. Any thread.
 *
 * Bounds: TENANT_REPORT_SENDERS, _FROZEN, _ACTS; how many there are in all is told.
 */
#ifndef NODE_TENANT_REPORT_H
#define NODE_TENANT_REPORT_H

#include "base/buf.h"
#include "consensus/directory.h"
#include "consensus/machine.h"

#define TENANT_REPORT_SENDERS 20
#define TENANT_REPORT_FROZEN 50
#define TENANT_REPORT_ACTS 100
#define TENANT_REPORT_WORDS 200
#define TENANT_REPORT_BYTES_MAX (256u << 10) /* as text */

struct tenant_report_sender {
    char account[COMMAND_NAME_MAX + 1];
    uint64_t delivered, deferred, bounced, complaints, failed_logins;
};
struct tenant_report_frozen {
    char name[COMMAND_NAME_MAX + 1], reason[TENANT_REPORT_WORDS];
    uint8_t scope, mode; /* enum command_scope, command_freeze_mode */
    int64_t since_ms;    /* wall clock */
    uint64_t left_ms;    /* 0: until somebody thaws */
};
struct tenant_report_act {
    int64_t at_ms;
    char what[2 * TENANT_REPORT_WORDS], by[TENANT_REPORT_WORDS]; /* by: "rule NAME", or "the postmaster" */
};
struct tenant_report {
    char tenant[COMMAND_NAME_MAX + 1], contact[COMMAND_NAME_MAX + 1]; /* contact: or empty */
    enum directory_record_window window;
    int64_t now_ms;
    uint64_t counts[RECORD_KINDS];
    uint32_t senders, nfrozen, nacts;                       /* in all */
    uint32_t top_n, frozen_n, acts_n;                       /* of these, here */
    struct tenant_report_sender top[TENANT_REPORT_SENDERS]; /* the most delivered first */
    struct tenant_report_frozen frozen[TENANT_REPORT_FROZEN];
    struct tenant_report_act acts[TENANT_REPORT_ACTS]; /* newest first */
};

/* Is the account this tenant's? One that the state does not have, but that was seen (a trusted relay named
 * it), belongs to the tenant of its domain's name. A web sender is whose its host is: what a script has put
 * behind that, an address perhaps, says nothing. Under machine_read_lock. */
bool tenant_owns(const struct machine *m, struct span tenant, struct span account);
/* Whose it is, known or not; empty: nobody's. Valid while the machine is locked, or `account` lives. */
struct span tenant_of(const struct machine *m, struct span account);
/* The tenant that an account has when none is given: its domain. */
struct span tenant_default(struct span account);

/* Takes the machine's lock for a moment at a time: the state may change meanwhile. ERR_NOT_FOUND: there is no
 * such tenant. `now_ms`: wall clock. */
int tenant_report_gather(struct machine *m, struct span tenant, enum directory_record_window window,
                         int64_t now_ms, struct tenant_report *out);

uint64_t tenant_report_bounced(const struct tenant_report *r);
const char *tenant_report_mode(uint8_t mode); /* "held", "rejected", ... */
/* For people: lines with LF, ASCII only. */
int tenant_report_text(const struct tenant_report *r, struct buf *out);

/* The message, with CRLF, to the contact. */
struct tenant_report_mail {
    const char *from, *to, *message_id, *every; /* every: "day", "week" */
};
int tenant_report_mail(const struct tenant_report *r, const struct tenant_report_mail *mail, struct buf *out,
                       uint32_t *header_bytes);

#endif
