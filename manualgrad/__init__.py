"""manualgrad"""
