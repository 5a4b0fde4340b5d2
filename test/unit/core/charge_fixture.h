/* A node with one client, and books, for tests of what a transaction is charged. The ledger, its agent and
 * the replicated machine are the real ones (../ledger/world.h), so that the books can be looked at: after
 * each test every account was charged what was admitted for it, once, and no node has a token left. What else
 * a cluster knows is the fixture's own: accounts, who is frozen, which names of web senders it lets be.
 */
#ifndef TEST_UNIT_CORE_CHARGE_FIXTURE_H
#define TEST_UNIT_CORE_CHARGE_FIXTURE_H

#include "node/core/charge.h"
#include "node/core/notice.h"
#include "node/core/session.h"
#include "node/core/web_claim.h"
#include "test/unit/ledger/world.h"

#define RELAY "relay@example.com"
#define ANNA "anna@example.org"
#define GONE "gone@example.org" /* disabled */
#define NEW "new@example.org"   /* nobody's account */
#define FORM "web:relay@example.com/form.php"
#define LIMIT 10 /* of a person; a device, such as the relay, may have more */

extern struct world books_world;
extern struct auth_identity books_relay, books_anna; /* who log in */
extern unsigned books_notices;                       /* mails to senders about their limits */
extern struct notice_over books_told;                /* the last one's numbers */
extern enum web_answer books_lets_be;                /* what is said of a web sender's name */

/* A cluster of one node, whose policy says what becomes of mail over a person's limit, and `more`. */
void books_begin(const char *over_limit, const char *more);
int books_end(void **state);
/* The worker acts upon it from now on. */
void books_freeze(const char *account, uint8_t mode);
/* What was asked of a web sender's name. */
void books_claim(enum web_answer answer);
/* When all grants have ended: so many recipients were charged to each, and spent, and nothing is out. */
void books_close(uint64_t relays, uint64_t annas, uint64_t forms, uint64_t news);

struct client {
    struct session s;
    struct charge c;
    struct charge_reply reply;
    uint32_t rcpts;
    unsigned answers;
    enum ledger_answer last;
};

void client_mail(struct client *x, struct auth_identity *who);
/* As admit.c has it. WAIT: there was no answer without time. */
enum ledger_answer client_rcpt(struct client *x, const char *ahead);
/* So many, which are all taken. */
void client_rcpts(struct client *x, uint32_t n);
bool client_named(struct client *x, const char *name);
bool client_web_named(struct client *x);
/* As receive_commit.c has it; what may be spent is. */
enum ledger_answer client_dot(struct client *x);
/* The client has gone, RSET, or all is done. */
void client_over(struct client *x);
void client_said(const struct client *x, uint16_t code, const char *enhanced, const char *words);

#endif
