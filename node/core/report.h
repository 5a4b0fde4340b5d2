/* What happened to mail and sessions goes from here to the event log, the counters, the history and to those
 * who follow a dialogue. One place, so that an event has the same fields wherever it comes from. The worker's
 * thread; nothing here blocks.
 */
#ifndef NODE_CORE_REPORT_H
#define NODE_CORE_REPORT_H

#include "node/bounce/class.h"
#include "node/core/attempt.h"
#include "node/core/client_check.h"
#include "node/core/conn.h"
#include "node/core/session.h"
#include "node/telemetry/events.h"
#include "node/telemetry/metrics.h"

/* ---- mail in ------------------------------------------------------------------------------------------- */

void report_session_start(struct session *s);
void report_session_end(struct session *s, int err);
void report_tls(struct session *s, bool ok, const char *why);
void report_note(struct session *s, const char *text);
void report_server_in(struct session *s, struct span bytes);
void report_server_out(struct session *s, struct span bytes);
void report_auth(struct session *s, const struct auth_request *r, enum auth_result result);
/* Whom this failure has blocked; some a minute at most, the others as a number. */
void report_attack(struct session *s, const struct auth_request *r);
/* Who the client is. */
void report_client(const struct session *s, struct event *e);
/* After the dot, for its content, with the verdict on it. */
void report_rejected_content(struct session *s, const char *verdict, const struct smtp_reply *reply,
                             struct span sender);
/* By a rule that has a name, or NULL. */
void report_rejected_by(struct session *s, const char *stage, const char *rule, const struct smtp_reply *reply,
                        struct span sender, struct span rcpt);
static inline void report_rejected(struct session *s, const char *stage, const struct smtp_reply *reply,
                                   struct span sender, struct span rcpt)
{
    report_rejected_by(s, stage, NULL, reply, sender, rcpt);
}
/* What came of the checks of a relay client, at a recipient. */
void report_client_check(struct session *s, enum client_check_result result);
/* The grammar refused something by itself: `reply` as it goes out. */
void report_refused(struct session *s, struct span reply);
/* Accepted: the 250 goes out now. `dkim`, `verdict`: empty where there is none. */
void report_received(struct session *s, const struct envelope *env, struct span subject, struct span dkim,
                     struct span verdict, int64_t commit_ms);

/* ---- mail out ------------------------------------------------------------------------------------------ */

/* A next hop was looked up; a temporary failure counts as failed. */
void report_lookup(struct worker *w, bool ok, int64_t took_ns);
void report_target_failed(struct conn *c, enum smtp_client_stage stage);
/* What is in force against a destination from now on, and no longer; a reply of which a rule wants word. */
void report_shaping(struct worker *w, const struct shaping_hold *hold);
void report_shaping_ended(struct worker *w, const struct shaping_ended *ended, const char *why);
/* The greylisting of the connection's site never ends, as this reply says; NULL: it does after all. */
void report_greylist(struct conn *c, const struct smtp_reply_text *reply);
void report_shaping_count(struct worker *w, int action); /* of one recipient: bounce, greylist */
/* Recipient i of the attempt goes out over another pool from now on: it is counted, and there is an event. */
void report_reroute(struct worker *w, const struct attempt *a, uint32_t i, const struct pool_mark *mark);
/* Of a site (its key, with the pool in front). */
void report_shaping_site(struct worker *w, struct span key, const char *what, const char *why);
void report_shaping_notice(struct conn *c, const char *rule, const struct smtp_reply_text *reply);
/* The site went down with this failure; it can be reached again. */
void report_site_down(struct conn *c, struct span why);
void report_site_up(struct conn *c);
void report_dialogue_in(struct conn *c, struct span bytes);
void report_dialogue_out(struct conn *c, struct span bytes);
void report_dialogue_note(struct conn *c, const char *text);
/* A host that asks for TLS, by DANE, was connected to, or could not be. */
void report_tls_policy(struct conn *c, enum metrics_tls_policy result);
/* The server is ready for mail the first time. */
void report_ready(struct conn *c);
/* A transaction has its results. */
void report_attempt(struct worker *w, const struct attempt *a);
/* What came of recipient i of the attempt: state is its new one (RCPT_QUEUED: deferred until next_ms). */
void report_recipient(struct worker *w, const struct attempt *a, uint32_t i, const struct conn *c,
                      uint8_t state, int64_t next_ms);
/* A report or a complaint came back (node/core/returned.h). `rule`: its class, or the complaint's type. */
enum report_returned_kind {
    REPORT_RETURNED_HARD,
    REPORT_RETURNED_SOFT,
    REPORT_RETURNED_COMPLAINT,
    REPORT_RETURNED_OTHER /* nobody knows whose, or of what it speaks */
};
struct report_returned {
    struct span account, tenant, rcpt, text;
    const char *rule;
    enum report_returned_kind kind;
    enum bounce_class class; /* of HARD */
    unsigned code;
    const uint8_t *status;
};
void report_returned(struct worker *w, const struct report_returned *r);
/* A tenant's domain is proven now, or lost. */
void report_domain(struct worker *w, struct span tenant, struct span domain, const char *state, struct span why);
/* A report was queued for the sender of `about`. */
void report_dsn(struct worker *w, const struct envelope *dsn, uint64_t about, const char *kind);
/* Any other event; what the configuration wants kept out is left out of it. */
void report_event(struct worker *w, struct event *e);
/* An operator's act on a message. */
void report_operator(struct worker *w, uint64_t id, const char *act, const char *by, const char *text);

#endif
