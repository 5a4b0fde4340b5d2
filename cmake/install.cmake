# What is installed besides the programs, man pages and completion: the systemd unit, its user and directories, the
# documentation and examples. `cmake --install` changes nothing below /etc: docs/operations.md says what to copy.

set(turnpike_unit ${PROJECT_BINARY_DIR}/turnpike.service)
file(READ deploy/turnpike.service unit)
string(REPLACE "/usr/sbin/turnpiked" "${CMAKE_INSTALL_FULL_SBINDIR}/turnpiked" unit "${unit}")
file(WRITE ${turnpike_unit} "${unit}")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS deploy/turnpike.service)

# Not CMAKE_INSTALL_LIBDIR, which names the architecture on Debian: systemd looks in lib/.
install(FILES ${turnpike_unit} DESTINATION lib/systemd/system)
install(FILES deploy/sysusers.turnpike.conf DESTINATION lib/sysusers.d RENAME turnpike.conf)
install(FILES deploy/tmpfiles.turnpike.conf DESTINATION lib/tmpfiles.d RENAME turnpike.conf)

install(FILES deploy/turnpike.example.yaml deploy/logrotate.turnpike CHANGELOG.md
  DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR}
  FILES_MATCHING PATTERN "*.md" PATTERN "openapi.json" PATTERN "man" EXCLUDE)
install(PROGRAMS deploy/hooks/address-ip DESTINATION lib/turnpike/hooks)
install(FILES deploy/hooks/turnpike-address-hook.conf DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES deploy/policy/rules.yaml deploy/policy/sites.yaml DESTINATION ${CMAKE_INSTALL_DOCDIR}/policy)
install(DIRECTORY deploy/prometheus DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.yaml")
install(DIRECTORY deploy/grafana DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.json")
