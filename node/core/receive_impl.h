/* Between receive.c, which takes a transaction in, and receive_commit.c, which brings it to its end. */
#ifndef NODE_CORE_RECEIVE_IMPL_H
#define NODE_CORE_RECEIVE_IMPL_H

#include "node/core/content.h"
#include "node/core/returned.h"
#include "node/core/session.h"
#include "node/core/sign.h"
#include "node/core/tally.h"
#include "node/mail/header.h"
#include "node/mail/likeness.h"

#include <stdatomic.h>

/* Survives the session's stream, until the spool has answered. */
struct receiving {
    struct worker_op op;
    struct session *s;
    struct arena arena;
    struct spool_ingest *in; /* NULL: not open, refused, or handed over */
    struct envelope env;
    uint32_t rcpts_cap;
    bool smtputf8;
    bool utf8_address;
    bool header_done;
    bool eight_bit;
    bool committing;
    bool commit_waits;       /* all content is there; tokens are not */
    bool looked;             /* it is in its sender's record, or will be */
    bool unseen;             /* the cluster did not say what it makes of it */
    bool watched;            /* rules may stop its sender */
    bool held;               /* there is room for it among what is held */
    struct tally_look *look; /* waits for the cluster; NULL: it does not */
    struct likeness *like;   /* NULL: nobody asks what it is like */
    struct charge charge;
    struct sign *sign; /* NULL: no key is for it */
    struct content *content; /* NULL: its content is not checked */
    bool signing, checking;  /* it waits for these */
    bool judged;             /* the verdict was obeyed, and the header is in the spool */
    struct mail_header header;
    struct worker_msg room;  /* "the spool takes content again" */
    atomic_bool room_posted; /* it is on its way through the inbox */
    struct returned *back;   /* on an inbound listener */
    struct spool_rcpt *states; /* of a message of which only a part is held; NULL: all or nothing is */
    uint32_t going;            /* of the recipients: that are not */
    char message_id[320];
    char client_ip[IP_TEXT_MAX];
    char hold[HOLD_MARK_MAX];
};

static inline bool receive_inbound(const struct session *s)
{
    return s->l->config->kind == CONFIG_INBOUND;
}

/* The header goes into the spool, and is signed, once filters have spoken. */
static inline bool receive_kept_back(const struct receiving *rx)
{
    return rx->content != NULL && rx->content->kept_back;
}

void receive_free(struct receiving *rx);
int receive_add_rcpt(struct receiving *rx, const struct envelope_rcpt *rcpt);
void receive_refuse(struct receiving *rx, const struct smtp_reply *reply);
/* The header is complete: checked, rewritten, handed to the spool with what was read of the body. False: the
 * spool takes no more for now. */
bool receive_header_complete(struct receiving *rx);
/* The cluster has answered about tokens. */
void receive_charged(struct session *s, enum ledger_answer answer);

#endif
