# @summary Holds the sites' databases.
class role::db {
  include profile::base
  include profile::sshd
  include profile::admin
  include profile::db
  include profile::db::backup
}
