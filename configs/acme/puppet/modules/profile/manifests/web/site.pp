# @summary Acme's own site on WordPress: code from Debian's package, content and helpers from app/.
# @param database its database
# @param user its user in the database
class profile::web::site (
  String $database,
  String $user,
) {
  $code = "/opt/hallmark/product/${facts['hallmark']['commit']}/app"
  $content = '/var/lib/wordpress/wp-content'

  package { ['wordpress', 'wordpress-theme-twentytwentythree', 'php']:
    ensure          => installed,
    install_options => ['--no-install-recommends'],
  }

  file { '/usr/share/acme':
    ensure  => directory,
    source  => "file://${code}",
    recurse => true,
    purge   => true,
    force   => true,
    owner   => 'root',
    group   => 'root',
    mode    => '0644',
  }

  file { "${content}/mu-plugins":
    ensure  => link,
    target  => '/usr/share/acme/mu-plugins',
    require => Package['wordpress'],
  }

  file { '/var/log/acme':
    ensure => directory,
    owner  => 'www-data',
    group  => 'adm',
    mode   => '0750',
  }

  if profile::launched() {
    file { '/etc/wordpress/config-default.php':
      ensure    => file,
      owner     => 'root',
      group     => 'www-data',
      mode      => '0640',
      show_diff => false,
      content   => Sensitive(epp('profile/wordpress.php.epp', {
        'database' => $database,
        'user'     => $user,
        'password' => lookup('secret::site_db_password'),
        'host'     => profile::peers('db')[0],
        'salt'     => lookup('secret::site_salt'),
      })),
      require   => Package['wordpress'],
    }

    # Read by the installer: a password is no argument of a command.
    file { '/etc/acme':
      ensure => directory,
      mode   => '0700',
    }

    file { '/etc/acme/admin-password':
      ensure    => file,
      mode      => '0600',
      show_diff => false,
      content   => lookup('secret::site_admin_password'),
    }

    exec { 'install or raise the site':
      command   => '/usr/bin/php /usr/share/acme/install.php',
      unless    => '/usr/bin/php /usr/share/acme/install.php --check',
      logoutput => on_failure,
      require   => [
        File['/usr/share/acme', "${content}/mu-plugins", '/etc/wordpress/config-default.php', '/etc/acme/admin-password', '/var/log/acme'],
        Package['wordpress-theme-twentytwentythree'],
      ],
    }

    cron { 'acme-wordpress-cron':
      command => '/usr/bin/php /usr/share/acme/cron.php',
      user    => 'www-data',
      minute  => '*/5',
      require => Exec['install or raise the site'],
    }
  }
}
