/* What a transaction is charged: its recipients, to the quotas of who sends them, and whether they may send
 * at all (the frozen list, this node's session with the cluster). Between a session and node/ledger. The
 * worker's thread.
 *
 * A node without a cluster charges nothing. One with a cluster that it has not joined, or whose worker has
 * heard nothing of it yet, admits nothing.
 *
 * Two senders can be charged. The account that logged in (or that a relay listener's network stands for) is
 * charged at each RCPT. Where the policy trusts a relay's account to name the real sender in a header, that
 * one is charged too, for all recipients, at the end of the header; a refusal is the reply to the dot.
 *
 * A web sender (docs/web-senders.md) is named likewise by headers of hosts that the policy believes; the
 * cluster must have room for the name, or the host alone is charged. He is charged besides his host: who is
 * held is charged to neither.
 *
 * A message that is to be held is not charged: its release is (held_release.h). But a relay whose header
 * names somebody whose mail is held is charged for it as for any other. And where the account that logged in
 * has no quota left in the middle of the recipients, those before are charged and go, if nothing but that
 * holds the message and nobody else is named; without their tokens at the end of it, all are held.
 */
#ifndef NODE_CORE_CHARGE_H
#define NODE_CORE_CHARGE_H

#include "base/buf.h"
#include "node/auth/auth.h"
#include "node/ledger/ledger.h"
#include "node/shaping/hold_mark.h"
#include "node/smtp/reply.h"

#include <stdbool.h>
#include <stdint.h>

struct policy;
struct policy_web_host;
struct session;
struct web_claim;
struct worker;

/* A reply and the memory of its text. */
struct charge_reply {
    struct smtp_reply reply;
    char text[256];
};

struct charge {
    struct session *s;
    struct policy *policy;    /* in force when the transaction began; NULL: no cluster */
    struct ledger_hold own;   /* of the account that logged in */
    struct ledger_hold named; /* of the sender that the header named */
    uint8_t class; /* of the mail of the account that logged in: enum account_class */
    bool has_own, has_named;
    uint32_t nrcpts;    /* so many tokens must be there when the message is committed */
    bool hold;          /* the message is to be held: charge_hold */
    bool part;          /* only from the recipient on for which there was no quota */
    uint32_t beyond;    /* of recipients: that are held */
    struct ledger_refusal over; /* of the first of them */
    enum hold_kind why;
    char why_text[HOLD_TEXT_MAX + 1];
    bool named_waiting; /* the cluster was asked, and has not answered */
    bool named_refused;
    char named_account[ACCOUNT_NAME_MAX + 1], named_tenant[ACCOUNT_NAME_MAX + 1];
    uint8_t named_class; /* likewise */
    bool web; /* a web sender is named, or will be when the cluster lets it be */
    struct web_claim *claim;    /* the cluster was asked for it, and has not answered */
    uint32_t web_rcpts;
    bool web_refused;
    struct charge_reply web_no; /* why */
    void (*on_answer)(struct session *s, enum ledger_answer answer); /* to what was asked last and waits */
};

/* May this client log in, or (auth false) send? Right after AUTH or MAIL was read. False: `out` says why. */
bool charge_welcome(struct session *s, bool auth, struct charge_reply *out);

/* A transaction begins. -ENOMEM, ERR_LIMIT. */
int charge_init(struct charge *c, struct session *s);
/* Gives back what was not spent; no answer comes any more. */
void charge_fini(struct charge *c);

/* One more recipient, the message having `n` already. `ahead` is what the client has sent besides: if the
 * cluster must be asked, then for the recipients in it too, so that a pipelined transaction waits once. WAIT:
 * on_answer follows with what this would have answered. */
enum ledger_answer charge_rcpt(struct charge *c, uint32_t n, struct span ahead, struct charge_reply *out);
/* A NO came by on_answer. False: the recipient is taken all the same, since the message is held then; else the words of
 * the refusal. */
bool charge_rcpt_refusal(struct charge *c, struct charge_reply *out);
/* It was not taken after all. */
void charge_rcpt_undo(struct charge *c);

/* The header's field that names senders here; empty: none does. */
struct span charge_header(const struct charge *c);
/* It named this one (as written: it need not be an account's name), for n recipients. False: `out` says why
 * not. The cluster's answer may come later: charge_ready waits for it. */
bool charge_named(struct charge *c, struct span name, uint32_t n, struct charge_reply *out);

/* The host whose headers are believed here; NULL: it is none. */
const struct policy_web_host *charge_web_host(const struct charge *c);
/* A header named this web sender of it (node/mail/origin.h), for n recipients. As charge_named. */
bool charge_web(struct charge *c, const char *origin, uint32_t n, struct charge_reply *out);
/* Whose message it is is known. WAIT: not yet, ask again when on_answer is called. NO: it is refused. */
enum ledger_answer charge_settled(struct charge *c, struct charge_reply *out);
/* The class of the message. */
uint8_t charge_class(const struct charge *c);

/* The policy has rules about senders. */
bool charge_has_rules(const struct charge *c);
/* How many recipients of a sender of that class may go before the cluster knows of them; 0: any number, since no
 * rule of the policy stops him, or his mail is held anyway. */
uint32_t charge_credit(const struct charge *c, uint8_t class);
/* Whether he may still send: he may have been stopped since MAIL was read. */
bool charge_still_allowed(struct charge *c, struct charge_reply *out);

/* The message is to be held, all of it, if it is accepted: any time before charge_ready says yes. The first
 * reason stays, unless it held only a part. What its recipients had reserved is not spent, and further ones
 * need nothing. */
void charge_hold(struct charge *c, enum hold_kind why, struct span text);
/* Of a message that is to be held: so many recipients, the first ones, are charged and go when it is
 * committed. */
uint32_t charge_within(const struct charge *c);

/* All that is reserved can be spent now: charge_spend must follow in the same turn. WAIT: ask again when
 * on_answer is called, whatever it says. */
enum ledger_answer charge_ready(struct charge *c, struct charge_reply *out);
void charge_spend(struct charge *c);

#endif
