# @summary MariaDB and the site's database, user and rights, by Debian's mysql module.
class profile::db::server {
  $database = $profile::db::database
  $password = Sensitive(mysql::password(lookup('secret::site_db_password').unwrap))

  # The module writes the configuration before it installs the package.
  file { '/etc/mysql':
    ensure => directory,
    mode   => '0755',
    before => Class['mysql::server'],
  }

  package { 'mariadb-client':
    ensure          => installed,
    install_options => ['--no-install-recommends'],
  }

  class { 'mysql::server':
    config_file      => '/etc/mysql/mariadb.conf.d/60-acme.cnf',
    includedir       => '',
    install_options  => ['--no-install-recommends'],
    restart          => true,
    override_options => {
      'mysqld' => {
        'bind-address'            => '0.0.0.0',
        'skip-name-resolve'       => true,
        'innodb_buffer_pool_size' => $profile::db::buffer_pool,
        'max_connections'         => $profile::db::max_connections,
        'character-set-server'    => 'utf8mb4',
      },
    },
  }

  mysql_database { $database:
    ensure  => present,
    charset => 'utf8mb4',
    collate => 'utf8mb4_general_ci',
    require => Class['mysql::server'],
  }

  # Only from the web servers' own addresses.
  profile::peers('web').each |$address| {
    $user = "${profile::db::user}@${address}"

    mysql_user { $user:
      ensure        => present,
      password_hash => $password,
      require       => Class['mysql::server'],
    }

    -> mysql_grant { "${user}/${database}.*":
      ensure     => present,
      user       => $user,
      table      => "${database}.*",
      privileges => ['ALL'],
      require    => Mysql_database[$database],
    }
  }
}
