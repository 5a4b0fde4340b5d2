/* What a message that came back is: a delivery report (RFC 3464), one of the older or private forms that
 * people still send (qmail, Exim, Sendmail, Exchange, plain text), or a complaint (ARF, RFC 5965). Read from
 * a copy in memory that may be cut short: BOUNCE_BYTES_MAX is enough for what comes before the returned
 * message. Bounded in depth, parts and recipients. Pure.
 *
 * Nothing here says that a report is true: anybody can send one. Who sent the message that it speaks of comes
 * from the address that it was sent to, or the field that we put into the message (token.h).
 */
#ifndef NODE_BOUNCE_REPORT_H
#define NODE_BOUNCE_REPORT_H

#include "node/bounce/class.h"

#define BOUNCE_BYTES_MAX (1u << 20)
#define BOUNCE_RCPTS_MAX 100
#define BOUNCE_DEPTH_MAX 8
#define BOUNCE_PARTS_MAX 64
#define BOUNCE_ADDRESS_MAX 320
#define BOUNCE_QUOTE_MAX 512

enum bounce_kind { BOUNCE_NOTHING, BOUNCE_REPORT, BOUNCE_COMPLAINT };
enum bounce_action { BOUNCE_FAILED, BOUNCE_DELAYED, BOUNCE_DELIVERED };

struct bounce_rcpt {
    char address[BOUNCE_ADDRESS_MAX + 1]; /* as we sent to it where that is told; "" if it isn't */
    enum bounce_action action;
    unsigned code;
    uint8_t status[3];
    char text[BOUNCE_QUOTE_MAX + 1];
    enum bounce_class class;
    bool hard; /* FAILED, and for good */
    bool dead; /* and the address is of no use any more: bounce_is_dead */
};

struct bounce_report {
    enum bounce_kind kind;
    struct bounce_rcpt *rcpts; /* of a complaint: those that complain, where that is told */
    uint32_t nrcpts;
    bool cut;          /* there were more recipients or parts than are taken */
    char feedback[32]; /* of a complaint: "abuse", "not-spam", ...; lower case */
    char source_ip[64]; /* of a complaint: where the message came from; "": not told */
    /* Of the message that came back, where it is told. */
    char message_id[256];
    char mark[256]; /* the field BOUNCE_MARK_FIELD */
    char return_path[BOUNCE_ADDRESS_MAX + 1];
};

/* The header field that we put into messages, for reports that lose the return path. */
#define BOUNCE_MARK_FIELD "X-Turnpike-Ref"

/* -ENOMEM; else 0, and `out` says what it is, also when that is nothing. */
int bounce_report_read(struct span message, struct bounce_report *out);
void bounce_report_fini(struct bounce_report *r);

#endif
