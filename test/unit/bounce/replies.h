/* Replies of the kinds that receivers send, and the class that each belongs to. Written after the forms that
 * large providers document and that servers ship with; the second half says the same in other words.
 */
#ifndef TEST_BOUNCE_REPLIES_H
#define TEST_BOUNCE_REPLIES_H

#include "node/bounce/class.h"

static const struct {
    enum bounce_class class;
    const char *reply;
} replies[] = {
    /* as servers ship with them, or providers document them */
    { BOUNCE_UNKNOWN_USER,
      "550 5.1.1 <bob@example.com>: Recipient address rejected: User unknown in virtual mailbox table" },
    { BOUNCE_UNKNOWN_USER,
      "550-5.1.1 The email account that you tried to reach does not exist. Please try double-checking" },
    { BOUNCE_UNKNOWN_USER, "550 5.4.1 Recipient address rejected: Access denied. "
                           "[AM0EUR02.eop-EUR02.prod.protection.outlook.com]" },
    { BOUNCE_UNKNOWN_USER,
      "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup" },
    { BOUNCE_UNKNOWN_USER,
      "554 delivery error: dd This user doesn't have a yahoo.com account (bob@yahoo.com) [0]" },
    { BOUNCE_UNKNOWN_USER, "550 Requested action not taken: mailbox unavailable" },
    { BOUNCE_UNKNOWN_USER, "550 5.5.0 Requested action not taken: mailbox unavailable" },
    { BOUNCE_UNKNOWN_USER, "550 5.1.1 <bob@example.com> User doesn't exist: bob@example.com" },
    { BOUNCE_UNKNOWN_USER, "511 sorry, no mailbox here by that name (#5.1.1 - chkuser)" },
    { BOUNCE_UNKNOWN_USER, "550 Unrouteable address" },
    { BOUNCE_UNKNOWN_USER, "550 5.2.1 The email account that you tried to reach is disabled." },
    { BOUNCE_UNKNOWN_USER, "554 30 Sorry, your message to bob@example.com cannot be delivered. This mailbox "
                           "is disabled (554.30)." },
    { BOUNCE_UNKNOWN_USER, "550 No Such User Here" },
    { BOUNCE_UNKNOWN_USER, "550 5.1.1 unknown or illegal alias: bob@example.com" },
    { BOUNCE_MAILBOX_FULL,
      "452-4.2.2 The email account that you tried to reach is over quota. Please direct the recipient" },
    { BOUNCE_MAILBOX_FULL, "552 5.2.2 <bob@example.com>: user is over quota" },
    { BOUNCE_MAILBOX_FULL,
      "554 5.2.2 mailbox full; "
      "STOREDRV.Deliver.Exception:QuotaExceededException.MapiExceptionShutoffQuotaExceeded" },
    { BOUNCE_MAILBOX_FULL, "552 5.2.2 The email account that you tried to reach is out of storage space." },
    { BOUNCE_MAILBOX_FULL, "552 1 Requested mail action aborted, mailbox not found or quota exceeded" },
    { BOUNCE_GREYLIST, "450 4.2.0 <bob@example.com>: Recipient address rejected: Greylisted, see "
                       "http://postgrey.schweikert.ch/help" },
    { BOUNCE_GREYLIST, "451 4.7.1 Greylisting in action, please come back later" },
    { BOUNCE_GREYLIST, "450 4.7.25 Client host temporarily delayed to verify; graylisted for 300 seconds" },
    { BOUNCE_RATE,
      "421-4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from your IP address." },
    { BOUNCE_RATE, "450-4.2.1 The user you are trying to contact is receiving mail at a rate that prevents "
                   "additional messages" },
    { BOUNCE_RATE, "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume "
                   "or user complaints" },
    { BOUNCE_RATE, "421 4.4.5 Too many connections from your host" },
    { BOUNCE_RATE, "451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77719)" },
    { BOUNCE_RATE, "452 4.5.3 Too many recipients" },
    { BOUNCE_RATE,
      "421 RP-001 Unfortunately, some messages weren't sent: the connection rate limit was exceeded" },
    { BOUNCE_BLOCK, "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org" },
    { BOUNCE_BLOCK, "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your "
                    "provider since part of their network is on our block list (S3140)." },
    { BOUNCE_BLOCK, "550 5.7.606 Access denied, banned sending IP [192.0.2.1]" },
    { BOUNCE_BLOCK, "553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1, because the ip is in "
                    "Spamhaus's list" },
    { BOUNCE_BLOCK, "554 - Bad reputation of the sending address" },
    { BOUNCE_BLOCK, "554 refused because your IP is listed" },
    { BOUNCE_BLOCK, "550-5.7.1 [192.0.2.1 19] Our system has detected that this message is likely suspicious "
                    "due to the very low reputation of the sending IP address" },
    { BOUNCE_CONTENT, "550-5.7.1 Our system has detected that this message is likely unsolicited mail. To "
                      "reduce the amount of spam" },
    { BOUNCE_CONTENT, "554 5.7.1 Message rejected as spam by Content Filtering." },
    { BOUNCE_CONTENT,
      "552-5.7.0 This message was blocked because its content presents a potential security issue" },
    { BOUNCE_CONTENT, "552 5.3.4 Message size exceeds fixed limit" },
    { BOUNCE_CONTENT, "550 5.7.1 Virus detected: Eicar-Test-Signature" },
    { BOUNCE_RELAY_DENIED, "554 5.7.1 <bob@example.com>: Relay access denied" },
    { BOUNCE_RELAY_DENIED, "550 5.7.1 Unable to relay" },
    { BOUNCE_RELAY_DENIED, "550 relay not permitted" },
    { BOUNCE_RELAY_DENIED, "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain" },
    { BOUNCE_POLICY, "550-5.7.26 This mail has been blocked because the sender is unauthenticated. Gmail "
                     "requires all senders to authenticate with either SPF or DKIM." },
    { BOUNCE_POLICY, "550 5.7.1 Email rejected per DMARC policy for example.org" },
    { BOUNCE_POLICY, "550 5.7.25 The IP address sending this message does not have a PTR record setup" },
    { BOUNCE_POLICY, "554 5.7.1 Your access to this mail system has been rejected due to the sending MTA's "
                     "poor setup: policy" },
    { BOUNCE_POLICY, "530 5.7.0 Must issue a STARTTLS command first" },
    { BOUNCE_DNS, "550 5.1.2 Host unknown (Name server: example.invalid: host not found)" },
    { BOUNCE_DNS, "556 5.1.10 Recipient address has null MX" },
    { BOUNCE_EXPIRED, "554 5.4.7 [internal] message timeout (exceeded max time, last transcode: 421 4.4.2): "
                      "delivery time expired" },
    { BOUNCE_EXPIRED, "4.4.7 Message expired: too long in queue" },
    { BOUNCE_OTHER, "451 4.3.0 Temporary server error" },
    { BOUNCE_OTHER, "554 Transaction failed" },
    { BOUNCE_OTHER, "250 2.0.0 Ok: queued" },
    /* the same in other words */
    { BOUNCE_UNKNOWN_USER, "550 there is no one at this address" },
    { BOUNCE_UNKNOWN_USER, "550 We have no such person on our books: no such account" },
    { BOUNCE_UNKNOWN_USER, "550 5.1.1 This recipient has left the company" },
    { BOUNCE_UNKNOWN_USER, "554 The account has been terminated" },
    { BOUNCE_UNKNOWN_USER, "550 Recipient is not known here" },
    { BOUNCE_MAILBOX_FULL, "452 This person's inbox has no space left" },
    { BOUNCE_MAILBOX_FULL, "552 Recipient exceeded storage allotment" },
    { BOUNCE_RATE, "450 slow down, you send more than we take" },
    { BOUNCE_RATE, "421 You have reached your hourly limit" },
    { BOUNCE_BLOCK, "554 5.7.1 Your server is listed in our denylist" },
    { BOUNCE_BLOCK, "550 The sending network is banned here" },
    { BOUNCE_CONTENT, "550 The attachment is of a file type that we do not take" },
    { BOUNCE_CONTENT, "554 It appears to be spam" },
    { BOUNCE_RELAY_DENIED, "550 You are not allowed to relay through this host" },
    { BOUNCE_POLICY, "550 Sender fails SPF checks of this domain" },
    { BOUNCE_DNS, "550 The recipient's domain does not exist in DNS: no such domain" },
    { BOUNCE_GREYLIST, "451 First time sender, please retry in five minutes" },
};

#endif
