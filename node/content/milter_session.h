/* One conversation with a filter, as the mail server (see milter_packet.h). A message that has come whole is
 * replayed to it: who connected, his greeting, sender, recipients, header, body. Pure: octets in, octets out.
 *
 *     NEGOTIATE --> ENVELOPE --> FIELDS --> HEADER_END --> BODY --> END --> LAST --> IDLE
 *                   ^                                                              |
 *                   +---------------- milter_session_begin: the next message ------+
 *
 * A step that the filter answers is taken alone; those that it left out or does not answer are passed over.
 * It may end the message at any step.
 */
#ifndef NODE_CONTENT_MILTER_SESSION_H
#define NODE_CONTENT_MILTER_SESSION_H

#include "node/content/milter_fields.h"
#include "node/content/milter_packet.h"

#define MILTER_OUT_MAX (4u * (MILTER_DATA_MAX + 5u)) /* a buffer that is pumped into needs so much */
#define MILTER_SCRIPT_MAX (8u << 20)                 /* octets of an envelope's packets */
#define MILTER_VALUE_MAX 512u                        /* of what a macro or a step tells: longer is cut */
#define MILTER_FIELD_MAX 60000u                      /* of a field's value: likewise */

/* What is told of a message besides its bytes. Empty: not known, and not told, but for the null sender. */
struct milter_about {
    struct span hostname, version, daemon, client_name, ip, helo, tls_version, cipher, auth_type, account,
        queue_id;
    struct span mail_from;
    uint32_t cipher_bits;
    uint16_t port;
    bool ip_v6;
};
/* Appends the packets up to the recipients, then a recipient's, then what comes between them and the header.
 * The buffer's error; it needs MILTER_SCRIPT_MAX. */
int milter_script_begin(struct buf *out, const struct milter_about *about);
int milter_script_rcpt(struct buf *out, struct span rcpt);
int milter_script_end(struct buf *out);

/* Lives, as it is, until the filter has answered; `fields` is changed where the filter says so. */
struct milter_message {
    struct span script; /* of the three above */
    struct milter_fields *fields;
    struct span body;
};

enum milter_verdict {
    MILTER_ACCEPTED,
    MILTER_REJECTED, /* for good; `code` 0: it gave none. Also "discard": nobody's mail vanishes without a
                        word */
    MILTER_DEFERRED,
    MILTER_QUARANTINED, /* `text`: why */
    MILTER_UNDOABLE     /* it wants what is not done here: `text` says what */
};

struct milter_answer {
    enum milter_verdict verdict;
    bool changed; /* the header */
    uint16_t code;
    char enhanced[12];
    char text[MILTER_TEXT_MAX]; /* printable, as is all here */
    char rcpt[100];             /* it is about this one */
};

enum milter_step {
    MILTER_STEP_NEGOTIATE,
    MILTER_STEP_ENVELOPE,
    MILTER_STEP_FIELDS,
    MILTER_STEP_HEADER_END,
    MILTER_STEP_BODY,
    MILTER_STEP_END,
    MILTER_STEP_LAST, /* all was sent */
    MILTER_STEP_IDLE
};

struct milter_session {
    const struct milter_message *message;
    enum milter_step step;
    bool waits; /* for the filter's answer to `last` */
    bool negotiated;
    bool offer_all; /* also actions that are not done here */
    bool reusable;   /* it said "continue" to the end. After anything else libmilter heeds no new connection */
    bool progress;  /* it said that it needs longer; whoever reads it resets it */
    char last;      /* the command that was sent last, but for macros; 0: none of this message yet */
    uint32_t version, actions, protocol;
    struct span script, rcpt, body; /* rcpt: what the envelope's last step said */
    uint32_t field;
    struct milter_answer answer;
    char why[100]; /* it failed */
};

enum milter_result { MILTER_MORE, MILTER_DONE, MILTER_FAILED };

void milter_session_init(struct milter_session *s, bool offer_all);
/* Only when it is new, or after MILTER_DONE where milter_session_again was true. */
void milter_session_begin(struct milter_session *s, const struct milter_message *m);
/* Appends what may be sent now; nothing while an answer is awaited. The buffer's error. */
int milter_session_pump(struct milter_session *s, struct buf *out);
/* What the filter sent: whole packets are taken off *in. After DONE or FAILED nothing more is to be given. */
enum milter_result milter_session_take(struct milter_session *s, struct span *in);
/* After DONE: appends what makes it ready for another message. False: the connection is to be closed. */
bool milter_session_again(struct milter_session *s, struct buf *out);

#endif
