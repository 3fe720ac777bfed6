# `twistd --python presque.tac`: presque with the settings of PRESQUE_* and of the file that PRESQUE_CONFIG names.
from twisted.application.service import Application

from presque.tap import Options, makeService

application = Application("presque")
makeService(Options()).setServiceParent(application)
