/* The maintained rules of classification, as data. A reply that falls into the wrong class is mended here:
 * with a phrase that says what such replies mean, not with the text of one server; and with a line in
 * test/unit/bounce/replies.h. The first rule that matches counts, so the order says what is stronger.
 */
#include "node/bounce/rules.h"

#define MAILBOX                                                                                              \
    "user~|mailbox~|recipient~|account~|addressee~|rcpt|inbox|mail box|email address|e mail address|alias~"

const struct bounce_rule bounce_rules[] = {
    /* They say the word itself. */
    { BOUNCE_GREYLIST, 0, { "greylist~|graylist~|grey list~|gray list~|greylisted~" }, 0 },
    { BOUNCE_GREYLIST,
      4,
      { "first time sender~|not seen before|unknown triplet|new sender~|temporarily delayed to verify" },
      0 },

    /* The queue gave up: whatever the last reply was, it is quoted behind this. */
    { BOUNCE_EXPIRED,
      0,
      { "delivery time expired|message expired|delivery expired|retry time~|retry timeout~|too long in queue|"
        "in the queue too long|been in the queue|queue lifetime|maximum time in queue|message timed "
        "out|delivery timed out|"
        "retries exceeded|giving up on|not delivered within|undelivered for|could not be delivered for" },
      0 },

    /* Of the mailbox: full. Before the rates, which speak of quotas too. */
    { BOUNCE_MAILBOX_FULL,
      0,
      { "mailbox full|mailbox is full|inbox full|inbox is full|mailbox for user is full|over quota|overquota|"
        "out of storage|mailfolder is full|mail folder is full|over its quota|over their quota|"
        "storage full|out of storage space|mail quota~|mailbox size limit|mailbox limit|storage quota|"
        "exceeded its storage|exceeded storage|exceeds storage|not enough storage space|overdrawn|too "
        "full|disk quota" },
      "insufficient system" },
    { BOUNCE_MAILBOX_FULL,
      0,
      { MAILBOX "|storage|disk~", "full|quota~|capacity|space|storage limit",
        "full|exceed~|over|reached|out of|no|not enough|insufficient|lack~" },
      "rate|too many|per hour|per minute|system storage|sending quota|daily" },

    /* Too much at a time. */
    { BOUNCE_RATE,
      0,
      { "rate limit~|ratelimit~|throttl~|too many connection~|too many concurrent|too many message~|too many "
        "session~|"
        "too many recipient~|too many email~|too many mail~|too many request~|too many error~|"
        "too much mail|too fast|unusual rate|unusually high|sending limit~|sending rate|message "
        "rate|connection rate|"
        "receiving mail at a rate|at a rate that|rate that exceeds|per hour|per minute|per "
        "second|concurrency limit|"
        "connection limit~|slow down|excessive volume|excessive rate|daily limit|hourly limit|maximum number "
        "of connection~|"
        "max connection~|messages per|connections per|unexpected volume|high volume|user complaints "
        "temporarily" },
      0 },

    /* We may not send through it at all. */
    { BOUNCE_RELAY_DENIED,
      0,
      { "relay~|relaying|we do not relay|open relay",
        "denied|deny~|not permitted|not allowed|prohibited|unable|not authorized|not authorised|refused|"
        "disallowed|rejected|forbidden|cannot|do not|don t|access|no longer|needs authentication|not "
        "enabled" },
      0 },
    { BOUNCE_RELAY_DENIED,
      0,
      { "relay not permitted|no relaying|not a gateway|not one of our domain~|not in my list of allowed|"
        "we don t handle mail for|do not accept mail for this domain|that domain isn t in my list|not local|"
        "domain not hosted here|not our customer" },
      0 },

    /* Our address, or our name, is on a list. */
    { BOUNCE_BLOCK,
      0,
      { "blacklist~|black list~|black listed|blocklist~|block list~|blocklisted|denylist~|deny "
        "list~|dnsbl~|dnsrbl|rbl|rbls|"
        "spamhaus~|spamcop~|barracudacentral|sorbs|uceprotect~|senderscore|sender "
        "score|senderbase|proofpoint dynamic reputation|"
        "poor reputation|bad reputation|low reputation|reputation~|spam source|known spam~|banned "
        "sending|banned sender" },
      0 },
    { BOUNCE_BLOCK,
      0,
      { "ip~|client~|host~|server~|network~|connection~|your domain|sending domain|sender address|sender "
        "s|your address",
        "block~|banned|listed|blocked|denied access|has been denied|rejected by reputation|refused "
        "because|suspicious activity|not welcome" },
      "content~|security|unauthenticated|" MAILBOX "|attachment~|url~" },

    /* The mailbox is no more. */
    { BOUNCE_UNKNOWN_USER,
      0,
      { MAILBOX "|address~",
        "unknown|does not exist|doesn t exist|do not exist|not exist|no longer exist~|nonexist~|non exist~|"
        "not found|couldn t be found|could not be found|wasn t found|cannot be found|can t be found|not be "
        "found|was not found|"
        "no such|invalid|not valid|not known|isn t known|unrecognized|not "
        "recognized|unrouteable|undeliverable address|not listed|"
        "no longer valid|no longer in use|no longer available|no longer active|not a valid|isn t valid|not "
        "our customer|"
        "doesn t have|does not have|not have an account|doesn t have a|not a known|no longer accept~|no "
        "longer with|"
        "has left|is not here|not on this server|not local|does not like "
        "recipient|disabled|inactive|deactivated|"
        "suspended|discontinued|closed|terminated|deleted|removed|not active|dormant|not "
        "registered|unregistered|is unavailable permanently" },
      "sender address|sender domain|from address|sender unknown|sender verify|sender rejected|return "
      "path|envelope from|"
      "reverse dns|helo~|host not found|domain not found|domain does not exist|domain doesn t exist|mail "
      "from|"
      "ip address|ptr|invalid domain|invalid "
      "sender|policy~|spam~|dkim|spf|dmarc|virus~|malware~|content~|credentials|password" },
    { BOUNCE_UNKNOWN_USER,
      0,
      { "no such user~|no such recipient~|no such mailbox|no such address|no such person|no such account|no "
        "such local user|no mailbox here|"
        "no mailbox by that name|no user by that name|unknown user~|unknown recipient~|unknown "
        "mailbox|unknown address|user unknown|not a mailbox|"
        "recipnotfound|recipient not found|adr recipnotfound|unknown or illegal alias|unrouteable address|"
        "nobody here by that name|no account by that name|no one here|there is no one at this address|"
        "requested action not taken mailbox unavailable|mailbox unavailable|mailbox not available|recipient "
        "address rejected access denied" },
      "spam~|policy~|block~|reputation|temporar~|try again|later" },

    /* What is in it. */
    { BOUNCE_CONTENT,
      0,
      { "virus~|malware~|phish~|infected|trojan|executable|spam content|spam message|looks like spam|looked "
        "like spam|considered spam|"
        "detected as spam|identified as spam|classified as spam|appears to be spam|likely unsolicited|is "
        "spam|as spam|spam score|"
        "suspected spam|spammy|spam like|spam detected|possible spam|junk mail|bulk "
        "mail|unsolicited~|spam~|content filter~|"
        "content reject~|content of|its content|message content|banned content|blocked content|prohibited "
        "content|banned "
        "word~|"
        "bad attachment~|illegal attachment~|attachment type|file type|attachment~|message content "
        "rejected|url in|a url|"
        "link~ in|objectionable|dangerous|content restrict~|content violat~|suspicious content|contains "
        "content" },
      "spf|dkim|dmarc" },
    { BOUNCE_CONTENT,
      0,
      { "message~|mail|size", "too large|too big|exceeds size|size exceeds|exceeds the maximum|maximum "
                              "message size|size limit~|exceeds fixed maximum|"
                              "message size" },
      0 },
    { BOUNCE_CONTENT,
      5,
      { "malformed|missing header~|header missing|invalid header~|bare lf|duplicate header~|not rfc "
        "compliant|"
        "message not rfc|rfc 5322|rfc 2822|rfc5322|rfc 822|multiple from|line too long" },
      0 },

    /* Names that don't lead anywhere. */
    { BOUNCE_DNS,
      0,
      { "host not found|host unknown|unknown host|domain not found|domain does not exist|domain doesn t "
        "exist|no such domain|"
        "unknown domain|bad destination host|bad destination system|no mx record~|null mx|nullmx|no valid "
        "mx|nxdomain|"
        "couldn t find any host~|name server~|host or domain name not found|unresolvable|unrouteable mail "
        "domain|"
        "name or service not known|illegal host|domain has no mail|all relevant mx records|"
        "domain isn t configured|domain name not found|mx lookup|dns query failed|dns error|dns "
        "failure|lookup failure" },
      "sender~|reverse~|ptr|helo|client~|mail from|rdns" },

    /* A rule of theirs. */
    { BOUNCE_POLICY,
      0,
      { "spf|dkim|dmarc|sender id|arc|unauthenticated|not authenticated|reverse dns|rdns|ptr|fcrdns|starttls|"
        "tls required|encryption required|policy~|administrative~ prohibit~|not authorized|not "
        "authorised|unauthorized|"
        "access denied|access restrict~|restricted|not permitted to|only accepts|only allowed|not allowed to "
        "send|"
        "transport rule~|sender verify~|sender verification|callout|helo~|ehlo|sender address|sender "
        "domain|sender rejected|"
        "rejected by|permission~|mail from|domain of sender|sender unknown|invalid sender|local "
        "policy|moderat~|you are not allowed" },
      0 },

    /* Vague words, and only where the next hop wants to be asked again. */
    { BOUNCE_RATE,
      4,
      { "try again later|try later|try again", "too many|resources|load~|busy|limit~|volume" },
      0 },
    { BOUNCE_BLOCK, 0, { "block~|banned|refused to talk to me" }, MAILBOX },
    { BOUNCE_EXPIRED,
      0,
      { "expired|timed out|time out|timeout|no route to host|connection refused|network unreachable" },
      0 },
};
const unsigned bounce_nrules = sizeof bounce_rules / sizeof bounce_rules[0];

/* RFC 3463 and IANA's registry of enhanced status codes. */
const struct bounce_status_rule bounce_status_rules[] = {
    { 1, 0, BOUNCE_UNKNOWN_USER }, { 1, 1, BOUNCE_UNKNOWN_USER }, { 1, 2, BOUNCE_DNS },
    { 1, 3, BOUNCE_UNKNOWN_USER }, { 1, 6, BOUNCE_UNKNOWN_USER }, { 1, 7, BOUNCE_POLICY },
    { 1, 8, BOUNCE_POLICY },       { 1, 10, BOUNCE_DNS },         { 2, 1, BOUNCE_UNKNOWN_USER },
    { 2, 2, BOUNCE_MAILBOX_FULL }, { 2, 3, BOUNCE_CONTENT },      { 3, 4, BOUNCE_CONTENT },
    { 4, 1, BOUNCE_EXPIRED },      { 4, 2, BOUNCE_EXPIRED },      { 4, 3, BOUNCE_DNS },
    { 4, 4, BOUNCE_DNS },          { 4, 5, BOUNCE_RATE },         { 4, 7, BOUNCE_EXPIRED },
    { 5, 3, BOUNCE_RATE },         { 6, 255, BOUNCE_CONTENT },    { 7, 17, BOUNCE_UNKNOWN_USER },
    { 7, 28, BOUNCE_RATE },        { 7, 255, BOUNCE_POLICY },
};
const unsigned bounce_nstatus_rules = sizeof bounce_status_rules / sizeof bounce_status_rules[0];

/* RFC 5321 section 4.2.3; 550 alone may mean anything. */
const struct bounce_code_rule bounce_code_rules[] = {
    { 452, BOUNCE_RATE },         { 523, BOUNCE_CONTENT },      { 530, BOUNCE_POLICY },
    { 550, BOUNCE_OTHER },        { 551, BOUNCE_UNKNOWN_USER }, { 552, BOUNCE_MAILBOX_FULL },
    { 553, BOUNCE_UNKNOWN_USER }, { 556, BOUNCE_DNS },
};
const unsigned bounce_ncode_rules = sizeof bounce_code_rules / sizeof bounce_code_rules[0];
