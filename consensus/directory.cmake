set(directory_sources command.c policy.c directory.c directory_access.c directory_erase.c directory_account.c directory_alert.c directory_audit.c directory_cluster.c
  directory_index.c directory_floating.c directory_habit.c directory_ip.c directory_measure.c directory_member.c directory_notice.c directory_operator.c directory_override.c directory_policy.c
  directory_pool.c directory_rec.c directory_sealed.c directory_proof.c directory_record.c directory_sender.c directory_sender_record.c facts.c record.c sender_rule.c directory_standing.c directory_suppress.c
  directory_transfer.c directory_warmup.c directory_web.c web_sender.c)
